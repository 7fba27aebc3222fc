//! Empty on purpose: a build dependency needs a library target, and cargo rebuilds its dependents when it changes.
#![no_std]
