//! Texts that stand for lists: what was appended, each piece ending in a comma.

use checker::history::Value;

/// A piece that stands for a number.
pub(super) fn piece(number: i64) -> Value {
    Value::from(format!("{number},"))
}

/// The numbers of a text, oldest first; what is no number is kept as text, for the checker to judge.
pub(super) fn elements(text: &Value) -> Vec<Value> {
    let text = match text {
        Value::Nil => "",
        Value::Str(text) => text,
        other => return vec![other.clone()],
    };
    let pieces = text.split_terminator(',');
    pieces
        .map(|piece| {
            piece
                .parse::<i64>()
                .map_or_else(|_| Value::from(piece), Value::Int)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_was_appended() {
        let numbers = |numbers: &[i64]| numbers.iter().map(|n| Value::Int(*n)).collect::<Vec<_>>();
        let cases = [
            (Value::Nil, vec![]),
            (Value::from(""), vec![]),
            (Value::from("1,2,"), numbers(&[1, 2])),
            (Value::from("7,7,"), numbers(&[7, 7])),
            (Value::from("1,x,"), vec![Value::Int(1), Value::from("x")]),
            (Value::Int(3), numbers(&[3])),
        ];
        for (text, expected) in cases {
            assert_eq!(elements(&text), expected, "{text}");
        }
        assert_eq!(elements(&piece(12)), numbers(&[12]));
    }
}
