//! The documentation is true to the repository: links lead somewhere, commands can be typed, tables are the code's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use workloads::cli::{Cli, one_line};
use workloads::workload::WORKLOADS;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Every page: the READMEs, ARCHITECTURE.md, and what lies below `docs` and `checker/docs`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(ROOT).canonicalize().expect("the repository");
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md"]
        .map(|name| root.join(name))
        .into();
    let mut folders = vec![root.join("docs"), root.join("checker/docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of docs") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                folders.push(entry.path());
            } else if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "md")
            {
                pages.push(entry.path());
            }
        }
    }
    pages.sort();
    pages
}

/// A line of a page, and whether it is prose or stands in a block of code.
#[derive(PartialEq)]
enum Line<'a> {
    Prose(&'a str),
    Code(&'a str),
}

fn lines(text: &str) -> Vec<(usize, Line<'_>)> {
    let (mut fenced, mut after_blank, mut indented) = (false, true, false);
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        // An indented line is code where a blank line stands before it; after a list it goes on with the list,
        // which for commands and links makes no difference.
        indented = line.starts_with("    ") && (after_blank || indented);
        after_blank = line.trim().is_empty();
        if fence {
            continue;
        }
        lines.push((
            number,
            if fenced || indented {
                Line::Code(line.trim())
            } else {
                Line::Prose(line)
            },
        ));
    }
    lines
}

/// The targets of links and pictures in a line of prose.
fn links(line: &str) -> Vec<&str> {
    // What stands between backticks is no link.
    let mut found = Vec::new();
    for (part, number) in line.split('`').zip(0..) {
        if number % 2 == 1 {
            continue;
        }
        let mut rest = part;
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            if let Some(end) = rest.find(')') {
                found.push(&rest[..end]);
            }
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in lines(text) {
        let Line::Prose(line) = line else { continue };
        let Some(title) = line.strip_prefix('#') else {
            continue;
        };
        let title = title.trim_start_matches('#').trim();
        let slug: String = title
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let times = seen.entry(slug.clone()).or_default();
        anchors.insert(if *times == 0 {
            slug
        } else {
            format!("{slug}-{times}")
        });
        *times += 1;
    }
    anchors
}

/// Why a link leads nowhere.
fn broken(page: &Path, link: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
    {
        return None;
    }
    let (path, anchor) = link
        .split_once('#')
        .map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    // The page itself, where only an anchor is named; a chapter without a page is mdbook's way to announce one.
    let target = match path {
        "" if anchor.is_none() => {
            return (!page.ends_with("SUMMARY.md")).then(|| "an empty link".to_owned());
        }
        "" => page.to_owned(),
        path => page.parent().expect("in a folder").join(path),
    };
    if !target.exists() {
        return Some(format!("there is no {}", target.display()));
    }
    let anchor = anchor?;
    let text = fs::read_to_string(&target).ok()?;
    (!anchors(&text).contains(anchor)).then(|| format!("{} has no heading #{anchor}", target.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for (number, line) in lines(&text) {
            let Line::Prose(line) = line else { continue };
            for link in links(line) {
                count += 1;
                if let Some(why) = broken(&page, link) {
                    wrong.push(format!("{}:{number}: {link}: {why}", page.display()));
                }
            }
        }
    }
    assert!(count > 100, "only {count} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_that_lead_nowhere_are_found() {
    let page = Path::new(ROOT).join("docs/faults.md");
    for good in [
        "systems.md",
        "../README.md",
        "#clocks-lab-with-libfaketime",
        "bugs/README.md#blind-spots",
    ] {
        assert_eq!(broken(&page, good), None, "{good}");
    }
    for bad in ["", "system.md", "#no-such-heading", "systems.md#no-such-heading"] {
        assert!(broken(&page, bad).is_some(), "{bad}");
    }
    assert_eq!(
        links("see [a](b.md), ![c](d.png) and `[e](f)`, [`g`](h.md)"),
        ["b.md", "d.png", "h.md"]
    );
    let text = "# A b: `c`, d\n\n    # no heading\n\n## A\n```\n# none\n```\n## A\n";
    assert_eq!(anchors(text), ["a", "a-1", "a-b-c-d"].map(str::to_owned).into());
}

#[test]
fn the_book_has_every_page_that_its_pages_lead_to() {
    let docs = Path::new(ROOT).join("docs").canonicalize().expect("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("a summary");
    let chapters: BTreeSet<PathBuf> = summary
        .lines()
        .flat_map(links)
        .filter(|link| !link.is_empty())
        .map(|link| docs.join(link))
        .collect();
    assert!(chapters.len() > 30, "{chapters:?}");
    for page in &chapters {
        let text = fs::read_to_string(page).expect("a chapter");
        for (number, line) in lines(&text) {
            let Line::Prose(line) = line else { continue };
            for link in links(line) {
                let path = link.split('#').next().unwrap_or_default();
                let target = page.parent().expect("in a folder").join(path);
                let Ok(target) = target.canonicalize() else {
                    continue;
                };
                let inside = target.starts_with(&docs) && target.extension().is_some_and(|e| e == "md");
                assert!(
                    !inside || chapters.contains(&target),
                    "{}:{number} leads to {}, which SUMMARY.md lacks",
                    page.display(),
                    target.display()
                );
            }
        }
    }
}

/// The arguments of `workloads` in a line of code, where it calls it.
fn typed(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    // What people are told beside a command.
    let line = line.split("   ").next().unwrap_or(line);
    let line = line.split(" # ").next().unwrap_or(line);
    let rest = [
        "cargo run --release -p workloads",
        "target/release/workloads",
        "workloads",
    ]
    .iter()
    .find_map(|program| line.strip_prefix(program))?;
    let rest = if rest.is_empty() {
        rest
    } else {
        rest.strip_prefix(' ')?
    };
    let words = rest.split_whitespace().skip_while(|word| *word == "--");
    Some(words.map(str::to_owned).collect())
}

#[test]
fn every_command_in_the_docs_can_be_typed() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for (number, line) in lines(&text) {
            let Line::Code(line) = line else { continue };
            let Some(arguments) = typed(line) else { continue };
            // Shown to be refused.
            if arguments
                .iter()
                .any(|argument| argument == "--sede" || argument == "...")
            {
                continue;
            }
            count += 1;
            let parsed = Cli::try_parse_from(std::iter::once("workloads".to_owned()).chain(arguments));
            if let Err(error) = parsed
                && error.use_stderr()
            {
                panic!("{}:{number}: {line}: {}", page.display(), one_line(&error));
            }
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

#[test]
fn the_catalogue_of_workloads_is_the_codes() {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/workloads.md")).expect("the page");
    let rows: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: BTreeSet<String> = WORKLOADS
        .iter()
        .map(|workload| {
            let needs: Vec<String> = workload.needs.iter().map(|f| format!("`{f}`")).collect();
            format!(
                "| `{}` | {} | {} | {} | {} |",
                workload.name,
                workload.about,
                workload.finds,
                workload.often,
                needs.join(", ")
            )
        })
        .collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|row| !rows.contains(row.as_str()))
        .collect();
    let wrong: Vec<_> = rows.iter().filter(|row| !expected.contains(**row)).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "docs/workloads.md lacks\n{missing:#?}\nand has instead\n{wrong:#?}"
    );
}
