//! What every page of the server has around it: the report's look, and a policy that lets in nothing else.

use std::sync::LazyLock;

use crate::report::{Escaped, STYLE, hash_source};

/// The report's style, and what only the server's pages need.
static CSS: LazyLock<String> = LazyLock::new(|| format!("{STYLE}{}", include_str!("page.css")));
const SCRIPT: &str = include_str!("page.js");

/// What the server's own pages may do: their one style, their one script, forms and event streams of ours.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash_source(&CSS),
        hash_source(SCRIPT)
    )
});
/// What a report may do: what it lets itself do by its own policy, on an origin of its own.
const REPORT_POLICY: &str = "sandbox allow-scripts allow-modals allow-top-navigation-by-user-activation; \
     default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
     base-uri 'none'; frame-ancestors 'none'";
/// What any other file may do.
const FILE_POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// Under which policy something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Page,
    Report,
    File,
}

impl Policy {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Page => &POLICY,
            Self::Report => REPORT_POLICY,
            Self::File => FILE_POLICY,
        }
    }
}

/// A page with this title and content; `head` goes into its head as it is.
pub(super) fn page(title: &str, head: &str, content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{css}</style>\n{head}</head>\n<body>\n\
         <a class=\"skip\" href=\"#top\">To the content</a>\n\
         <nav aria-label=\"Pages\"><div><span class=\"name\">Ordeal</span><a href=\"/\">runs</a>\
         <button id=\"theme\" type=\"button\">light / dark</button><button id=\"keys\" type=\"button\">keys</button></div></nav>\n\
         <main id=\"top\">\n{content}\n<footer>Served by Ordeal {version}.</footer>\n</main>\n\
         <dialog id=\"help\"><h3>Keys</h3><table class=\"plain\"><tbody>\
         <tr><td><kbd>j</kbd> <kbd>k</kbd></td><td>next, previous run</td></tr>\
         <tr><td><kbd>Enter</kbd></td><td>open it</td></tr>\
         <tr><td><kbd>x</kbd></td><td>mark it for a comparison</td></tr>\
         <tr><td><kbd>/</kbd></td><td>to the filters</td></tr>\
         <tr><td><kbd>t</kbd></td><td>light or dark</td></tr>\
         <tr><td><kbd>?</kbd></td><td>this</td></tr></tbody></table></dialog>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        title = Escaped(title),
        css = *CSS,
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// A page that says that something is not there, or not allowed.
pub(super) fn sorry(what: &str) -> String {
    page(
        "not here",
        "",
        &format!("<h1>{}</h1><p><a href=\"/\">All runs</a></p>", Escaped(what)),
    )
}
