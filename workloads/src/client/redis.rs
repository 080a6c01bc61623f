//! Stores that speak the protocol of Redis.
//!
//! The words of a command are the command: `["SET", "{key}", "{value}"]`. What comes back is JSON: nil is null,
//! a string is a string, an array an array; an error of the server is the text that it sent.

use std::net::SocketAddr;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, Value};
use serde_json::Value as Json;

use super::pool::Pool;
use super::{Lost, Transport};
use crate::system::{Answer, Call};

/// Carries commands to Redis.
#[derive(Debug, Default)]
pub(super) struct Redis {
    idle: Pool<MultiplexedConnection>,
}

async fn connect(node: SocketAddr) -> Result<MultiplexedConnection, RedisError> {
    // Patience is the caller's, for the whole operation.
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None);
    redis::Client::open(format!("redis://{node}"))?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

impl Transport for Redis {
    async fn exchange(&self, node: SocketAddr, call: Call) -> Result<Answer, Lost> {
        let Call::Command(words) = call else {
            return Err(Lost::unsent("the redis client speaks commands"));
        };
        let mut connection = match self.idle.take(node) {
            Some(connection) => connection,
            None => connect(node).await.map_err(Lost::unsent)?,
        };
        let mut command = redis::Cmd::new();
        command.arg(&words);
        match connection.send_packed_command(&command).await {
            Ok(value) => {
                self.idle.give(node, connection);
                Ok(answer(value))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                self.idle.give(node, connection);
                Ok(Answer::refused(Json::String(error.to_string())))
            }
            Err(error) => {
                self.idle.forget(node);
                Err(Lost::underway(error))
            }
        }
    }
}

fn answer(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => {
            let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
            Answer::refused(Json::String(text))
        }
        value => Answer::told(json(value)),
    }
}

fn json(value: Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Int(n) => n.into(),
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        Value::Array(items) | Value::Set(items) => items.into_iter().map(json).collect(),
        Value::SimpleString(text) => text.into(),
        Value::Okay => "OK".into(),
        Value::Double(n) => n.into(),
        Value::Boolean(truth) => truth.into(),
        // Nothing that RESP2 has.
        other => format!("{other:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as j;

    #[test]
    fn replies_become_json() {
        let reply = Value::Array(vec![
            Value::BulkString(b"master".to_vec()),
            Value::Int(7),
            Value::Nil,
            Value::Okay,
        ]);
        assert_eq!(json(reply), j!(["master", 7, null, "OK"]));
    }
}
