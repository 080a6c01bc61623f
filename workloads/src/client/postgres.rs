//! PostgreSQL.
//!
//! The first word of a command is a statement, the others are its parameters, all of type text; what it
//! returns must be text, too (`v::text`). The answer is `{"rows": [["7"], ...]}`, an error
//! `{"code": SQLSTATE, "message": ...}`.

use std::net::SocketAddr;

use serde_json::{Value as Json, json};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};

use super::pool::Pool;
use super::{Lost, Transport};
use crate::system::{Answer, Call};

/// Carries statements to PostgreSQL.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    idle: Pool<Client>,
}

async fn connect(node: SocketAddr) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config
        .host(node.ip().to_string())
        .port(node.port())
        .user("postgres")
        .dbname("postgres");
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client, or with the server.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%node, %error, "a connection to postgres ended");
        }
    });
    Ok(client)
}

impl Transport for Postgres {
    async fn exchange(&self, node: SocketAddr, call: Call) -> Result<Answer, Lost> {
        let Call::Command(words) = call else {
            return Err(Lost::unsent("the postgres client speaks statements"));
        };
        let Some((statement, parameters)) = words.split_first() else {
            return Err(Lost::unsent("there is no statement"));
        };
        let client = match self.idle.take(node).filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => match connect(node).await {
                Ok(client) => client,
                // Refused at the door: nothing was asked yet.
                Err(error) => return Err(Lost::unsent(said(&error))),
            },
        };
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> = parameters
            .iter()
            .map(|word| (word as &(dyn ToSql + Sync), Type::TEXT))
            .collect();
        match client.query_typed(statement, &parameters).await {
            Ok(rows) => {
                let answer = rows.iter().map(texts).collect::<Result<Vec<Json>, _>>();
                self.idle.give(node, client);
                match answer {
                    Ok(rows) => Ok(Answer::told(json!({ "rows": rows }))),
                    Err(error) => Ok(Answer::refused(
                        json!({ "code": "", "message": error.to_string() }),
                    )),
                }
            }
            Err(error) => match error.as_db_error() {
                Some(told) => {
                    let answer = json!({ "code": told.code().code(), "message": told.message() });
                    self.idle.give(node, client);
                    Ok(Answer::refused(answer))
                }
                None => {
                    self.idle.forget(node);
                    Err(Lost::underway(said(&error)))
                }
            },
        }
    }
}

fn texts(row: &Row) -> Result<Json, tokio_postgres::Error> {
    let columns = (0..row.len()).map(|column| row.try_get::<_, Option<String>>(column).map(Json::from));
    columns.collect()
}

fn said(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
