//! What the types of a system file cannot say and must hold.

use nemesis::plan::{FAULT_NAMES, faults_named};

use super::operation::{CallTemplate, Operation, REQUEST};
use super::problem::{Problem, nearest};
use super::rules::{self, Place};
use super::template::Template;
use super::{DriverKind, System};

/// Names of the placeholders that operations may use.
const OPERATION_PLACEHOLDERS: &[&str] = &["key", "value", "old", "new", REQUEST];
/// Names of the placeholders that a watch may use besides: the revision after which changes are wanted and the
/// one after that, what the keys begin with, and the first text that comes after all that begin so.
const WATCH_PLACEHOLDERS: &[&str] = &["from", "next", "prefix", "after"];
/// Names of the placeholders that a node's texts may use.
const NODE_PLACEHOLDERS: &[&str] = &[
    "program", "node", "address", "index", "data", "members", "first", "nodes", "here",
];
/// Names of the placeholders in a member's spelling.
const MEMBER_PLACEHOLDERS: &[&str] = &["node", "address", "index"];

/// Checks the whole system.
pub(super) fn check(system: &System) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if system.name.is_empty() || !system.name.chars().all(plain) {
        return Err(Problem::new(
            "",
            "name",
            "`name` must be letters, digits, - and _",
        ));
    }
    if let Some(unknown) = system.faults.iter().find(|name| faults_named(name).is_none()) {
        let meant =
            nearest(unknown, FAULT_NAMES).map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
        let message = format!("there is no fault `{unknown}`{meant}");
        return Err(Problem::new("", "faults", message));
    }
    let params: Vec<&str> = system.params.keys().map(String::as_str).collect();
    check_node(system, &params)?;
    check_ready(system, &params)?;
    for (name, operation) in &system.operation {
        check_operation(
            system.driver,
            &format!("operation.{name}"),
            name,
            operation,
            &params,
        )?;
    }
    if let Some(setup) = &system.setup {
        let params = [&params[..], &["nodes"]].concat();
        check_operation(system.driver, "setup", "setup", setup, &params)?;
    }
    if let Some(leader) = &system.leader {
        check_call(system.driver, "leader", &leader.call, &[], &params)?;
    }
    for (variant, change) in &system.variant {
        let section = format!("variant.{variant}");
        for name in change.params.keys() {
            if !system.params.contains_key(name) {
                let message = format!("`{name}` is none of [params]: {}", params.join(", "));
                return Err(Problem::new(&section, name, message));
            }
        }
        for (name, operation) in &change.operation {
            let section = format!("{section}.operation.{name}");
            check_operation(system.driver, &section, name, operation, &params)?;
        }
    }
    Ok(())
}

fn check_node(system: &System, params: &[&str]) -> Result<(), Problem> {
    let node = &system.node;
    if node.command.is_empty() {
        return Err(Problem::new("node", "command", "`command` must name a program"));
    }
    if node.port == 0 && system.driver != DriverKind::StdinJson {
        return Err(Problem::new(
            "node",
            "",
            "`port` must say where a node serves its clients",
        ));
    }
    if node.program.is_none() && node.cargo.is_none() && node.command.iter().any(|word| word.names("program"))
    {
        let message = "{program} is used, so `program` (or `cargo`) must say which it is";
        return Err(Problem::new("node", "{program}", message));
    }
    let texts = node
        .command
        .iter()
        .chain(node.env.values())
        .chain(node.files.values());
    for template in texts.chain(node.stop.iter().flatten()) {
        known("node", template, &[NODE_PLACEHOLDERS, params])?;
        if template.names("members") && node.member.is_none() {
            let message = "{members} is used, so `member` must say how one is written";
            return Err(Problem::new("node", "{members}", message));
        }
    }
    if let Some(name) = node
        .files
        .keys()
        .find(|name| name.contains('/') || name.starts_with('.'))
    {
        let message = format!("`{name}` must be the name of a file, without folders");
        return Err(Problem::new("node", name, message));
    }
    node.member.as_ref().map_or(Ok(()), |member| {
        known("node", member, &[MEMBER_PLACEHOLDERS, params])
    })
}

fn check_ready(system: &System, params: &[&str]) -> Result<(), Problem> {
    match (&system.ready, system.driver) {
        // A Maelstrom node is ready when it has answered its init.
        (None, DriverKind::StdinJson) => Ok(()),
        (None, _) => Err(Problem::new(
            "",
            "",
            "[ready] must say how to see that a node can serve",
        )),
        (Some(ready), driver) => match ready.call() {
            Some(call) => check_call(driver, "ready", &call, &[], params),
            None => Err(Problem::new(
                "ready",
                "",
                "[ready] needs `path` (over HTTP) or `command`",
            )),
        },
    }
}

fn check_operation(
    driver: DriverKind,
    section: &str,
    name: &str,
    operation: &Operation,
    params: &[&str],
) -> Result<(), Problem> {
    let mut captured: Vec<&str> = Vec::new();
    for (number, step) in operation.steps.iter().enumerate() {
        let of_watch = if name == "watch" { WATCH_PLACEHOLDERS } else { &[] };
        let allowed = [&captured[..], OPERATION_PLACEHOLDERS, of_watch].concat();
        match (&step.stream, driver) {
            (Some(_), DriverKind::Http) if name == "watch" => {}
            (Some(_), DriverKind::Http) => {
                return Err(Problem::new(
                    section,
                    "stream",
                    "`stream` is for [operation.watch] only",
                ));
            }
            (Some(_), _) => {
                let message =
                    "`stream` is for HTTP; this system's driver is a native client, which cannot watch";
                return Err(Problem::new(section, "stream", message));
            }
            (None, _) if name == "watch" => {
                let message = "a watch needs `stream`: how the answer, which goes on, tells changes";
                return Err(Problem::new(section, "", message));
            }
            (None, _) => {}
        }
        check_call(driver, section, &step.call, &allowed, params)?;
        let place = Place {
            step: number,
            last: number + 1 == operation.steps.len(),
        };
        rules::validate(&step.rules, name, place)
            .map_err(|message| Problem::new(section, "rules", message))?;
        for rule in &step.rules {
            for template in rule.json.values().flat_map(|json| json.templates()) {
                known(section, template, &[&allowed, params])?;
            }
            captured.extend(rule.capture.keys().map(String::as_str));
        }
    }
    Ok(())
}

fn check_call(
    driver: DriverKind,
    section: &str,
    call: &CallTemplate,
    allowed: &[&str],
    params: &[&str],
) -> Result<(), Problem> {
    match (driver, call) {
        (DriverKind::StdinJson, _) if !section.starts_with("operation") => {}
        (DriverKind::Http, CallTemplate::Command(_)) => {
            let message = "`command` is for native clients; this system's driver is http: say `path`";
            return Err(Problem::new(section, "command", message));
        }
        (DriverKind::Http, CallTemplate::Http { .. }) | (_, CallTemplate::Command(_)) => {}
        (_, CallTemplate::Http { .. }) => {
            let message = "`path` is for HTTP; this system's driver is a native client: say `command`";
            return Err(Problem::new(section, "path", message));
        }
    }
    for template in call.templates() {
        known(section, template, &[allowed, params])?;
    }
    Ok(())
}

/// Every placeholder of `template` must be among the names.
fn known(section: &str, template: &Template, names: &[&[&str]]) -> Result<(), Problem> {
    let names = names.concat();
    let Some(unknown) = template.unknown_placeholder(&names) else {
        return Ok(());
    };
    let meant = nearest(unknown, names.iter().copied());
    let hint = meant.map_or(String::new(), |meant| format!("; did you mean {{{meant}}}?"));
    let all: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
    let message = format!(
        "unknown placeholder {{{unknown}}}{hint} (known here: {})",
        all.join(", ")
    );
    Err(Problem::new(section, format!("{{{unknown}"), message))
}
