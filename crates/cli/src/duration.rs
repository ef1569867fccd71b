//! Durations as people type them: `500ms`, `30s`, `5m`, `12h`, `30d`.

use std::time::Duration;

/// Reads a duration: a whole number and its unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write a whole number and ms, s, m, h or d, for example 30s".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "the number is missing or too large".to_owned())?;
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(|| "the duration is too long".to_owned())
}

/// Writes one in the largest unit that it is a whole number of.
pub fn show(duration_ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole =
        units.into_iter().find(|(ms, _)| duration_ms >= *ms && duration_ms.is_multiple_of(*ms));
    let (ms, unit) = whole.unwrap_or((1, "ms"));
    format!("{}{unit}", duration_ms / ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read() {
        for text in ["0ms", "250ms", "1500ms", "30s", "90s", "5m", "12h", "400d"] {
            let duration = parse(text).unwrap();
            assert_eq!(show(u64::try_from(duration.as_millis()).unwrap()), text);
        }
    }

    #[test]
    fn what_has_no_unit_or_no_number_is_refused() {
        for text in ["", "30", "s", "-5s", "1.5s", "5 s", "99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("18446744073709551615d").is_err());
    }
}
