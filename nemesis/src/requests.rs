//! What the system under test can be asked over HTTP: who leads, and to change
//! its membership. How it is asked comes from the system file, by way of
//! `cluster.json`, so that it works for other stores.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::MembershipChange;
use crate::node::NodeId;

/// The requests that a system understands. All are optional.
///
/// In URLs and bodies `{url}` stands for the base URL of the node that is asked,
/// `{node}` for the name of the node that it is about, `{node_url}` for that
/// node's base URL and `{address}` for its address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requests {
    /// Who leads?
    pub leader: Option<LeaderQuery>,
    /// Make a node a member.
    pub add: Option<Request>,
    /// Make a node a member no longer.
    pub remove: Option<Request>,
    /// Hand leadership to a node.
    pub transfer: Option<Request>,
    /// Who belongs? It shows whether a change of membership came about.
    pub members: Option<MembersQuery>,
}

impl Requests {
    /// The requests of our own kvnode.
    pub fn of_kvnode() -> Requests {
        let request = |method: &str, url: &str, body: Option<&str>| {
            Some(Request {
                method: method.to_owned(),
                url: url.to_owned(),
                body: body.map(str::to_owned),
            })
        };
        Requests {
            leader: request("GET", "{url}/status", None).map(|request| LeaderQuery {
                request,
                pointer: "/leader".to_owned(),
                equals: None,
                term_pointer: Some("/term".to_owned()),
                candidate: Some(Standing {
                    pointer: "/role".to_owned(),
                    equals: "candidate".into(),
                }),
            }),
            add: request(
                "POST",
                "{url}/cluster/members",
                Some(r#"{"id":"{node}","http":"{address}:8000","raft":"{address}:9000"}"#),
            ),
            remove: request("DELETE", "{url}/cluster/members/{node}", None),
            transfer: request("POST", "{url}/cluster/transfer", Some(r#"{"to":"{node}"}"#)),
            members: request("GET", "{url}/cluster/members", None).map(|request| MembersQuery {
                request,
                pointer: "/members".to_owned(),
                name: Some("/id".to_owned()),
            }),
        }
    }
}

/// How a node is asked who leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderQuery {
    /// The request; by default `GET {url}/status`.
    #[serde(flatten)]
    pub request: Request,
    /// JSON pointer (RFC 6901) to the answer, for example `/leader`.
    pub pointer: String,
    /// If given, the node leads itself if the value found equals this one; else
    /// the value found is the leader's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// JSON pointer to the term or epoch: of differing answers the highest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term_pointer: Option<String>,
    /// How a node says that it stands for election. Without it, one that is the
    /// first to know a newer term is taken for the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Standing>,
}

/// A place in an answer, and what is found there if something is so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// JSON pointer, for example `/role`.
    pub pointer: String,
    /// For example `candidate`.
    pub equals: Value,
}

/// How a node is asked who belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MembersQuery {
    /// The request.
    #[serde(flatten)]
    pub request: Request,
    /// JSON pointer to the list of members, for example `/members`.
    pub pointer: String,
    /// JSON pointer to the name within each of them; without it each is a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One HTTP request with placeholders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `GET`, `POST`, ...
    #[serde(default = "get")]
    pub method: String,
    /// For example `{url}/cluster/members/{node}`.
    pub url: String,
    /// Sent as `application/json` if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// A node, as requests reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Base URL without a slash at its end: `http://10.99.0.1:8000`.
    pub url: String,
    /// Address under which the other nodes know it.
    pub address: String,
}

/// What one node says of who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Who says so.
    pub node: NodeId,
    /// Its term or epoch, where terms are told; else 0.
    pub term: u64,
    /// Who leads, as it knows.
    pub leader: Option<NodeId>,
    /// It stands for election; none if it cannot say so.
    pub candidate: Option<bool>,
}

/// Asks the system under test. It never retries.
pub struct Asker {
    requests: Requests,
    endpoints: BTreeMap<NodeId, Endpoint>,
    http: reqwest::blocking::Client,
    other: Option<AskOtherwise>,
}

/// Asks all nodes who leads, within so long, by other means than HTTP: each
/// answer is a leader and the term in which it leads, 0 where terms are not told.
pub type AskOtherwise = Box<dyn Fn(Duration) -> Vec<(u64, NodeId)> + Send + Sync>;

impl Asker {
    /// An asker for these nodes.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(requests: Requests, endpoints: BTreeMap<NodeId, Endpoint>) -> Result<Asker, reqwest::Error> {
        // Environment proxies and redirects would ask someone else than meant.
        let http = reqwest::blocking::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Asker {
            requests,
            endpoints,
            http,
            other: None,
        })
    }

    /// Has `ask` find out who leads, for systems that speak no HTTP or say it in
    /// a way that a [`LeaderQuery`] cannot read.
    #[must_use]
    pub fn asking(mut self, ask: AskOtherwise) -> Asker {
        self.other = Some(ask);
        self
    }

    /// Who leads, as most of the nodes that answer within `patience` (and, where
    /// terms are told, know the newest term) have it. All are asked at once.
    pub fn leader(&self, patience: Duration) -> Option<NodeId> {
        if let Some(ask) = &self.other {
            return elect(ask(patience));
        }
        let views = self.views(patience).into_iter();
        elect(views.filter_map(|view| Some((view.term, view.leader?))).collect())
    }

    /// What each node that answers within `patience` says. All are asked at once.
    pub fn views(&self, patience: Duration) -> Vec<View> {
        let Some(query) = self.requests.leader.as_ref() else {
            return Vec::new();
        };
        std::thread::scope(|scope| {
            let asked: Vec<_> = self
                .endpoints
                .keys()
                .map(|node| scope.spawn(move || self.view(query, node, patience)))
                .collect();
            asked
                .into_iter()
                .filter_map(|thread| thread.join().ok().flatten())
                .collect()
        })
    }

    fn view(&self, query: &LeaderQuery, node: &NodeId, patience: Duration) -> Option<View> {
        let answer = self.send(&query.request, node, node, patience).ok()?;
        let json: Value = serde_json::from_str(&answer).ok()?;
        let term = query.term_pointer.as_ref().and_then(|pointer| {
            let term = json.pointer(pointer)?;
            term.as_u64().or_else(|| term.as_str()?.parse().ok())
        });
        let found = json.pointer(&query.pointer);
        let leader = match &query.equals {
            Some(value) => (found == Some(value)).then(|| node.clone()),
            None => found.and_then(|found| found.as_str()?.parse().ok()),
        };
        let standing = |standing: &Standing| json.pointer(&standing.pointer) == Some(&standing.equals);
        Some(View {
            node: node.clone(),
            term: term.unwrap_or(0),
            leader: leader.filter(|leader| self.endpoints.contains_key(leader)),
            candidate: query.candidate.as_ref().map(standing),
        })
    }

    /// True if the system can be asked who leads.
    pub fn knows_leader(&self) -> bool {
        self.requests.leader.is_some()
    }

    /// True if the system can be asked who belongs to it.
    pub fn knows_members(&self) -> bool {
        self.requests.members.is_some()
    }

    /// Who belongs to the cluster: as the leader has it where one is known and
    /// answers, else whoever answers first.
    ///
    /// # Errors
    /// What the last one asked said.
    pub fn members(&self, patience: Duration) -> Result<Vec<NodeId>, String> {
        let query = self
            .requests
            .members
            .as_ref()
            .ok_or("the system file has no request for its members")?;
        let leader = self.leader(patience);
        let others = self
            .endpoints
            .keys()
            .filter(|node| Some(*node) != leader.as_ref());
        let mut last = "no node could be asked".to_owned();
        for asked in leader.iter().chain(others) {
            let names = self
                .send(&query.request, asked, asked, patience)
                .and_then(|answer| query.names(&answer));
            match names {
                Ok(names) => return Ok(names),
                Err(error) => last = format!("{asked}: {error}"),
            }
        }
        Err(last)
    }

    /// True if the system can be asked for such a change.
    pub fn knows(&self, change: MembershipChange) -> bool {
        match change {
            MembershipChange::Replace => {
                self.knows(MembershipChange::Remove) && self.knows(MembershipChange::Add)
            }
            change => self.request(change).is_some(),
        }
    }

    fn request(&self, change: MembershipChange) -> Option<&Request> {
        match change {
            MembershipChange::Add => self.requests.add.as_ref(),
            MembershipChange::Remove => self.requests.remove.as_ref(),
            MembershipChange::Transfer => self.requests.transfer.as_ref(),
            // Done by the other two.
            MembershipChange::Replace => None,
        }
    }

    /// Asks for a membership change about `node`: the leader if one is known,
    /// else the nodes one after the other until one agrees.
    ///
    /// # Errors
    /// What the last one asked said.
    pub fn change(
        &self,
        change: MembershipChange,
        node: &NodeId,
        patience: Duration,
    ) -> Result<String, String> {
        let request = self
            .request(change)
            .ok_or_else(|| format!("the system file has no request for {change:?}"))?;
        let leader = self.leader(patience);
        let others = self
            .endpoints
            .keys()
            .filter(|other| *other != node && Some(*other) != leader.as_ref());
        let mut last = "no node could be asked".to_owned();
        for asked in leader.iter().chain(others) {
            match self.send(request, asked, node, patience) {
                Ok(answer) => return Ok(format!("{asked} agreed: {}", answer.trim())),
                Err(error) => last = format!("{asked}: {error}"),
            }
        }
        Err(last)
    }

    fn send(
        &self,
        request: &Request,
        asked: &NodeId,
        about: &NodeId,
        patience: Duration,
    ) -> Result<String, String> {
        let fill = |text: &str| {
            let base = |node: &NodeId| self.endpoints.get(node).map_or("", |end| end.url.as_str());
            let address = self.endpoints.get(about).map_or("", |end| end.address.as_str());
            text.replace("{url}", base(asked))
                .replace("{node_url}", base(about))
                .replace("{node}", about.as_str())
                .replace("{address}", address)
        };
        let method =
            reqwest::Method::from_bytes(request.method.as_bytes()).map_err(|error| error.to_string())?;
        let mut call = self.http.request(method, fill(&request.url)).timeout(patience);
        if let Some(body) = &request.body {
            call = call.header("content-type", "application/json").body(fill(body));
        }
        let answer = call.send().map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().map_err(|error| error.to_string())?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(format!("{status} {}", text.trim()))
        }
    }
}

impl MembersQuery {
    fn names(&self, answer: &str) -> Result<Vec<NodeId>, String> {
        let json: Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
        let list = json
            .pointer(&self.pointer)
            .and_then(Value::as_array)
            .ok_or_else(|| format!("there is no list at {} in {answer}", self.pointer))?;
        let name = |member: &Value| {
            let name = match &self.name {
                Some(pointer) => member.pointer(pointer)?,
                None => member,
            };
            name.as_str()?.parse().ok()
        };
        list.iter()
            .map(|member| name(member).ok_or_else(|| format!("a member without a name: {member}")))
            .collect()
    }
}

/// The most named leader of the newest term; of equals the first by name.
fn elect(answers: Vec<(u64, NodeId)>) -> Option<NodeId> {
    let newest = answers.iter().map(|(term, _)| *term).max()?;
    let mut votes: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (_, leader) in answers.into_iter().filter(|(term, _)| *term == newest) {
        *votes.entry(leader).or_default() += 1;
    }
    let most = votes.values().copied().max()?;
    votes
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(leader, _)| leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_term_beats_more_voices() {
        let n = NodeId::numbered;
        assert_eq!(elect(vec![(3, n(1)), (3, n(1)), (4, n(2))]), Some(n(2)));
        assert_eq!(elect(vec![(0, n(3)), (0, n(1)), (0, n(3))]), Some(n(3)));
        assert_eq!(elect(Vec::new()), None);
    }

    #[test]
    fn members_are_read_as_names_or_as_tables() {
        let query = |name: Option<&str>| MembersQuery {
            request: Request {
                method: get(),
                url: "{url}/members".to_owned(),
                body: None,
            },
            pointer: "/members".to_owned(),
            name: name.map(str::to_owned),
        };
        let two = Ok(vec![NodeId::numbered(1), NodeId::numbered(2)]);
        assert_eq!(query(None).names(r#"{"members":["n1","n2"]}"#), two);
        let tables = r#"{"members":[{"id":"n1"},{"id":"n2","role":"voter"}]}"#;
        assert_eq!(query(Some("/id")).names(tables), two);
        for wrong in ["{}", r#"{"members":[{"id":7}]}"#, "no json"] {
            assert!(query(Some("/id")).names(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_leader_query_is_read_from_a_plain_table() {
        let query: LeaderQuery =
            serde_json::from_str(r#"{"url":"{url}/status","pointer":"/leader","term_pointer":"/term"}"#)
                .expect("a query");
        assert_eq!((query.request.method.as_str(), query.equals), ("GET", None));
    }
}
