//! From the first line of a request to what is wanted: pure, and the first door that keeps paths inside.

use std::collections::BTreeMap;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What of a path's part is written as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// What is wanted. Paths are relative to the store and made of plain names only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// All runs.
    Runs,
    /// One run, and its files.
    Run(PathBuf),
    /// A file as it is.
    File(PathBuf),
    /// Two runs side by side.
    Compare,
    /// A run under way.
    Live(PathBuf),
    /// What happens in it, as server-sent events.
    Events(PathBuf),
}

/// Names and values of a query; the last of a name counts, empty ones do not.
pub(super) type Query = BTreeMap<String, String>;

impl Route {
    /// What this path asks for; none where there is no such thing.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let kind = parts.next()?;
        let mut rest: Vec<&str> = parts.collect();
        // A folder may be written with a slash at its end.
        if rest.last() == Some(&"") {
            rest.pop();
        }
        let below = || rest.iter().map(|part| name(part)).collect::<Option<PathBuf>>();
        match (kind, rest.is_empty()) {
            ("", true) => Some(Self::Runs),
            ("compare", true) => Some(Self::Compare),
            ("run", false) => below().map(Self::Run),
            ("file", false) => below().map(Self::File),
            ("live", false) => below().map(Self::Live),
            ("events", false) => below().map(Self::Events),
            _ => None,
        }
    }
}

/// One part of a path, decoded; none where it could lead elsewhere than one step down.
fn name(part: &str) -> Option<String> {
    let name = percent_decode_str(part).decode_utf8().ok()?;
    let plain = !matches!(&*name, "" | "." | "..") && !name.contains(['/', '\\', '\0']);
    plain.then(|| name.into_owned())
}

/// The names and values of a query.
pub(super) fn query(text: &str) -> Query {
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.trim().to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// A relative path from names as typed, as in `?a=test/run`; none where it could lead elsewhere.
pub(super) fn relative(text: &str) -> Option<PathBuf> {
    let plain = |part: &&str| !matches!(*part, "" | "." | "..") && !part.contains(['\\', '\0']);
    let parts: Vec<&str> = text.split('/').collect();
    parts.iter().all(plain).then(|| parts.iter().collect())
}

/// Where `kind` is shown of a path of the store.
pub(super) fn link(kind: &str, path: &str) -> String {
    let parts: Vec<String> = path
        .split('/')
        .map(|part| utf8_percent_encode(part, PLAIN).to_string())
        .collect();
    format!("/{kind}/{}", parts.join("/"))
}

/// A query of these names and values.
pub(super) fn query_text<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = form_urlencoded::Serializer::new(String::from("?"));
    for (name, value) in pairs {
        text.append_pair(name, value);
    }
    text.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_down_and_nowhere_else() {
        let cases = [
            ("/", Some(Route::Runs)),
            ("/compare", Some(Route::Compare)),
            (
                "/run/kvnode-mix/2026/",
                Some(Route::Run("kvnode-mix/2026".into())),
            ),
            (
                "/file/a/b%20c/n1/node.log",
                Some(Route::File("a/b c/n1/node.log".into())),
            ),
            ("/live/a/b", Some(Route::Live("a/b".into()))),
            ("/events/a/b", Some(Route::Events("a/b".into()))),
            ("/file/a/%E2%9C%93", Some(Route::File("a/✓".into()))),
            ("/file", None),
            ("/file/", None),
            ("/nothing/a", None),
            ("", None),
            ("*", None),
            ("/file/../etc/passwd", None),
            ("/file/a/../../etc/passwd", None),
            ("/file/%2e%2e/etc/passwd", None),
            ("/file/.%2E/etc/passwd", None),
            ("/file/a%2f..%2f..%2fetc/passwd", None),
            ("/file/..%5c..%5cetc", None),
            ("/file//etc/passwd", None),
            ("/file/a//b", None),
            ("/file/%2Fetc%2Fpasswd", None),
            ("/file/a%00.html", None),
            ("/file/./a", None),
            ("/file/a/%ff", None),
        ];
        for (path, expected) in cases {
            assert_eq!(Route::of(path), expected, "{path}");
        }
        // What is decoded once is not decoded again.
        assert_eq!(
            Route::of("/file/a/%252e%252e/b"),
            Some(Route::File("a/%2e%2e/b".into()))
        );
    }

    #[test]
    fn links_lead_back_to_what_they_name() {
        for path in ["kvnode-mix/1", "a b/c&d/\"e\"#?", "%2e%2e/x"] {
            assert_eq!(
                Route::of(&link("run", path)),
                Some(Route::Run(path.into())),
                "{path}"
            );
            let text = query_text([("a", path), ("b", "")]);
            assert_eq!(query(&text[1..]).get("a").map(String::as_str), Some(path));
            assert_eq!(query(&text[1..]).get("b"), None);
        }
        assert_eq!(relative("a/b"), Some("a/b".into()));
        for path in ["../a", "/etc", "a//b", "a/..", "a\0b", ""] {
            assert_eq!(relative(path), None, "{path}");
        }
    }
}
