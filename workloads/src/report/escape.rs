//! The one door through which text from outside reaches a page.
//!
//! Values, error messages and node logs are whatever a store made of them; one of them may be `<script>`.

use std::fmt::{self, Display, Write};

/// Anything that can be shown, made safe for HTML and XML, in text and in quoted attributes.
///
/// Control characters, which XML forbids even as references, become their Unicode pictures (U+0000 is `␀`), so
/// that a binary value stays recognisable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(out), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let picture;
            let replacement = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                '\n' | '\t' => continue,
                '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                    picture = visible(c);
                    picture
                }
                // Marks that turn the direction of a line would let a value rewrite the words around it.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "\u{fffd}",
                _ => continue,
            };
            self.0.write_str(&text[plain..at])?;
            self.0.write_str(replacement)?;
            plain = at + c.len_utf8();
        }
        self.0.write_str(&text[plain..])
    }
}

/// The picture of a control character.
fn visible(c: char) -> &'static str {
    const PICTURES: [&str; 32] = [
        "␀", "␁", "␂", "␃", "␄", "␅", "␆", "␇", "␈", "␉", "␊", "␋", "␌", "␍", "␎", "␏", "␐", "␑", "␒", "␓",
        "␔", "␕", "␖", "␗", "␘", "␙", "␚", "␛", "␜", "␝", "␞", "␟",
    ];
    match c {
        '\u{7f}' => "␡",
        _ => PICTURES.get(c as usize).copied().unwrap_or("\u{fffd}"),
    }
}

/// Text for one line of Markdown, a table cell included: nothing in it makes a link, a tag or a column.
pub(crate) fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' | '@' => {
                safe.push('\\');
                safe.push(c);
            }
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// JSON that may stand inside a `<script>` element: nothing in it closes the element.
pub(super) fn script_json(value: &serde_json::Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// At most `most` characters, with an ellipsis for what was cut.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_text_or_attribute() {
        let cases = [
            ("plain", "plain"),
            (
                "<script>alert('x')</script>",
                "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;",
            ),
            ("\" onload=\"x", "&quot; onload=&quot;x"),
            ("a & b", "a &amp; b"),
            ("\u{0}\u{1b}[31m\u{7f}", "␀␛[31m␡"),
            ("two\nlines\t", "two\nlines\t"),
            ("\u{202e}evil", "\u{fffd}evil"),
            ("\u{85}\u{ffff}", "\u{fffd}\u{fffd}"),
            ("ヽ(‘ー`)ノ", "ヽ(‘ー`)ノ"),
        ];
        for (text, expected) in cases {
            assert_eq!(Escaped(text).to_string(), expected);
        }
        assert_eq!(
            Escaped(format_args!("{}<", 1)).to_string(),
            "1&lt;",
            "every piece that is written passes"
        );
    }

    #[test]
    fn json_cannot_close_its_script() {
        let text = script_json(&serde_json::json!({ "log": "</script><!--\u{2028}" }));
        assert!(!text.contains('<'), "{text}");
        let back: serde_json::Value = serde_json::from_str(&text).expect("still JSON");
        assert_eq!(back["log"], "</script><!--\u{2028}");
    }

    #[test]
    fn markdown_stays_in_its_cell() {
        assert_eq!(markdown("a|b\n<b>[x](y)`"), "a\\|b &lt;b&gt;\\[x\\](y)\\`");
    }

    #[test]
    fn shortening_counts_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
        assert_eq!(shortened("", 3), "");
    }
}
