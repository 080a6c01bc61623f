//! Limits as people write them.

use std::time::Duration;

/// Seconds, as in `10` or `0.5`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let wanted = || "a number of seconds, such as 10 or 0.5".to_owned();
    let seconds: f64 = text
        .strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .map_err(|_| wanted())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wanted())
}

/// Bytes, as in `512M`, `2G` or `1000000`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wanted = || "a number of bytes, such as 512M, 2G or 1000000".to_owned();
    let upper = text.trim_end_matches(['B', 'b', 'i']).to_ascii_uppercase();
    let (digits, unit) = match upper.strip_suffix(['K', 'M', 'G', 'T']) {
        None => (&*upper, 1),
        Some(digits) => {
            let unit = match upper.as_bytes()[digits.len()] {
                b'K' => 1 << 10,
                b'M' => 1 << 20,
                b'G' => 1 << 30,
                _ => 1u64 << 40,
            };
            (digits, unit)
        }
    };
    let number: u64 = digits.parse().map_err(|_| wanted())?;
    number.checked_mul(unit).ok_or_else(wanted)
}
