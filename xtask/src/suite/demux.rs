//! Whose event is it: the tracer tells those of all scenarios, and of the rest of the machine, in one stream.

use serde_json::Value;

use super::players::Player;

/// The namespaces of a player with the names that goldens have for them.
pub(super) fn namespaces(player: &Player) -> Vec<(u64, String)> {
    let own = player.hello["netns"].as_u64().map(|inode| (inode, "own".to_owned()));
    own.into_iter().chain(named(&player.played["namespaces"])).collect()
}

/// `[[number, name], …]`
pub(super) fn named(pairs: &Value) -> Vec<(u64, String)> {
    let pairs = pairs.as_array().map_or(&[][..], Vec::as_slice);
    pairs.iter().filter_map(|pair| Some((pair[0].as_u64()?, pair[1].as_str()?.to_owned()))).collect()
}

/// The events of this player's scenario, in order of time.
///
/// By namespace, and by port: a namespace that a scenario gives up leaves its inode to whoever makes the next one,
/// another scenario or another test beside us.
pub(super) fn events_of<'e>(player: &Player, events: &'e [Value]) -> Vec<&'e Value> {
    let mine = namespaces(player);
    let port = player.scenario.port;
    let is_mine = |event: &&Value| {
        let netns = event["netns"].as_u64();
        mine.iter().any(|(inode, _)| Some(*inode) == netns)
            && (event["lport"] == port || event["rport"] == port)
    };
    let mut found: Vec<&Value> = events.iter().filter(is_mine).collect();
    found.sort_by_key(|event| event["mono_ns"].as_u64());
    found
}
