//! Clients that are kept for one operation, as Jepsen's `reserve` keeps threads: so many only read, so many only
//! write, the others do everything.

use std::fmt;
use std::str::FromStr;

use super::Load;
use crate::generator::{AnyGenerator, Context, Generator, Invocation, Next, Only, Reserve, Shared};
use crate::system::Outcome;

/// So many clients for one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// How many; at least 1.
    pub clients: usize,
    /// The operation, by its name in histories.
    pub f: String,
}

impl fmt::Display for Reserved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.clients, self.f)
    }
}

impl FromStr for Reserved {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (clients, f) = text.split_once(':').unwrap_or_default();
        match clients.parse() {
            Ok(clients) if clients > 0 && !f.is_empty() => Ok(Self {
                clients,
                f: f.to_owned(),
            }),
            _ => Err("write it as 4:get, so many clients for an operation".to_owned()),
        }
    }
}

/// `load` by so many clients, the first of which are reserved in this order.
///
/// # Errors
/// When more are reserved than there are, or for what the load does not do.
pub fn reserve(load: Box<dyn Load>, reserved: &[Reserved], clients: usize) -> Result<Box<dyn Load>, String> {
    if reserved.is_empty() {
        return Ok(load);
    }
    let taken: usize = reserved.iter().map(|reserved| reserved.clients).sum();
    if taken > clients {
        return Err(format!("{taken} clients are reserved, but there are {clients}"));
    }
    let known = load.shares();
    let shared = Shared::new(load);
    let mut parts: Vec<(usize, &'static str)> = Vec::new();
    for Reserved { clients, f } in reserved {
        let Some((f, _)) = known.iter().find(|(known, _)| known == f) else {
            let names: Vec<&str> = known.iter().map(|(f, _)| *f).collect();
            return Err(format!(
                "clients are reserved for `{f}`; the workload does: {}",
                names.join(", ")
            ));
        };
        parts.push((*clients, *f));
    }
    // From the last to the first: whoever is not of the first part is of the rest.
    let mut generator: AnyGenerator = Box::new(shared.clone());
    let mut up_to = taken;
    for (clients, f) in parts.iter().rev() {
        let only = Box::new(Only::new(shared.clone(), f));
        generator = Box::new(Reserve::new(up_to, only, generator));
        up_to -= clients;
    }
    Ok(Box::new(Parted {
        generator,
        load: shared,
        parts,
        clients,
    }))
}

struct Parted {
    generator: AnyGenerator,
    load: Shared<Box<dyn Load>>,
    parts: Vec<(usize, &'static str)>,
    clients: usize,
}

impl Generator for Parted {
    fn next(&mut self, context: Context) -> Next {
        self.generator.next(context)
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.generator.update(context, invocation, outcome);
    }
}

impl Load for Parted {
    fn final_reads(&self, node: usize) -> Vec<Invocation> {
        self.load.look().final_reads(node)
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        let part = |clients: usize| clients as f64 / self.clients as f64;
        let of = |f: &str| -> usize {
            let kept = self.parts.iter().filter(|(_, kept)| *kept == f);
            kept.map(|(clients, _)| clients).sum()
        };
        let taken: usize = self.parts.iter().map(|(clients, _)| clients).sum();
        let rest = self.clients - taken;
        // Who does nothing else does more of it than this: a share is the least that ought to succeed.
        let shares = self.load.look().shares().into_iter();
        shares.map(|(f, share)| (f, share * part(rest + of(f)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{LoadOptions, Workload};
    use checker::history::Nanos;
    use std::collections::BTreeMap;

    fn load(name: &str) -> Box<dyn Load> {
        let system = crate::system::System::find("kvnode").expect("shipped");
        let options = LoadOptions::for_system(&system, 3, 5, 100);
        (Workload::named(name).expect("known").load)(&options)
    }

    fn parsed(texts: &[&str]) -> Vec<Reserved> {
        texts
            .iter()
            .map(|text| text.parse().expect("understood"))
            .collect()
    }

    #[test]
    fn who_is_reserved_does_one_thing_and_the_others_do_everything() {
        let mut parted = reserve(load("cas-register"), &parsed(&["2:get", "1:cas"]), 5).expect("fits");
        let mut done: BTreeMap<usize, BTreeMap<&str, u32>> = BTreeMap::new();
        for turn in 0..1000 {
            let worker = turn % 5;
            let context = Context {
                now: Nanos(turn as u64),
                worker,
                node: 0,
            };
            let Next::Invoke { invocation, .. } = parted.next(context) else {
                panic!("endless")
            };
            *done.entry(worker).or_default().entry(invocation.f).or_default() += 1;
            parted.update(context, &invocation, &Outcome::DONE);
        }
        for (worker, expected) in [
            &["get"][..],
            &["get"],
            &["cas"],
            &["cas", "get", "set"],
            &["cas", "get", "set"],
        ]
        .into_iter()
        .enumerate()
        {
            let found: Vec<&str> = done[&worker].keys().copied().collect();
            assert_eq!(found, expected, "worker {worker}");
        }
        // The keys are those of the whole load.
        assert!(parted.final_reads(0).len() > 5);
        let shares: BTreeMap<&str, f64> = parted.shares().into_iter().collect();
        let plain: BTreeMap<&str, f64> = load("cas-register").shares().into_iter().collect();
        for (f, clients) in [("get", 4.0), ("cas", 3.0), ("set", 2.0)] {
            assert!(
                (shares[f] - plain[f] * clients / 5.0).abs() < 1e-9,
                "{f}: {shares:?}"
            );
        }
    }

    #[test]
    fn a_lock_that_only_some_may_give_back_is_waited_for() {
        let mut parted = reserve(load("lock"), &parsed(&["1:release"]), 2).expect("fits");
        let context = Context {
            now: Nanos(5),
            worker: 0,
            node: 0,
        };
        let Next::Wait { until } = parted.next(context) else {
            panic!("there is no lock to give back")
        };
        assert!(until > context.now);
    }

    #[test]
    fn what_cannot_be_reserved_is_refused_with_what_can() {
        let refused = |texts: &[&str]| {
            reserve(load("register"), &parsed(texts), 4)
                .err()
                .expect("refused")
        };
        assert_eq!(
            refused(&["3:get", "2:set"]),
            "5 clients are reserved, but there are 4"
        );
        let unknown = refused(&["1:cas"]);
        assert!(
            unknown.contains("`cas`") && unknown.ends_with("get, set"),
            "{unknown}"
        );
        for text in ["get", "0:get", "4:", "x:get", ""] {
            assert!(text.parse::<Reserved>().is_err(), "{text}");
        }
        assert_eq!(parsed(&["4:get"])[0].to_string(), "4:get");
    }
}
