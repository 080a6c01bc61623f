//! Nodes that speak Maelstrom's protocol, reached through the network inside the runner.
//!
//! The first word of a command is the type of the message, the others are names and values of its fields, in
//! turn; a value that is a whole number travels as a number, `null` as null. The answer is the body of the reply;
//! one of type `error` has status 500.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{Lost, Transport};
use crate::cluster::Network;
use crate::system::{Answer, Call};

/// Carries messages to nodes inside the runner.
#[derive(Debug)]
pub(super) struct Inside(pub(super) Arc<Network>);

impl Transport for Inside {
    async fn exchange(&self, node: SocketAddr, call: Call) -> Result<Answer, Lost> {
        let Call::Command(words) = call else {
            return Err(Lost::unsent("nodes on standard input speak messages, not HTTP"));
        };
        let body = body(&words).map_err(Lost::unsent)?;
        match self.0.ask(node, body).await {
            Ok(reply) if reply["type"] == "error" => Ok(Answer::refused(reply)),
            Ok(reply) => Ok(Answer::told(reply)),
            Err(false) => Err(Lost::unsent("the node is dead")),
            Err(true) => Err(Lost::underway("the node died")),
        }
    }
}

/// The body of a message.
fn body(words: &[String]) -> Result<Json, String> {
    let Some((kind, fields)) = words.split_first() else {
        return Err("a message needs a type".to_owned());
    };
    if fields.len() % 2 == 1 {
        return Err(format!("the message `{kind}` has a field without a value"));
    }
    let mut body = Map::from_iter([("type".to_owned(), Json::from(kind.as_str()))]);
    for field in fields.chunks(2) {
        let value = match field[1].parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) if field[1] == "null" => Json::Null,
            Err(_) => field[1].as_str().into(),
        };
        body.insert(field[0].clone(), value);
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_message() {
        let words = ["cas", "key", "k1", "from", "null", "to", "7"].map(str::to_owned);
        let expected = serde_json::json!({"type": "cas", "key": "k1", "from": null, "to": 7});
        assert_eq!(body(&words), Ok(expected));
        assert!(body(&["read".to_owned(), "key".to_owned()]).is_err());
    }
}
