//! Numbers for people: `1.234M`, `1.5Ki`, `2h 3m 4s`, `12.3%`.

use crate::{Value, printf};

/// Up to four significant digits, `%.4g`.
fn four(v: f64, suffix: &str) -> Result<String, String> {
    printf::sprintf("%.4g%s", &[Value::Float(v), Value::from(suffix)])
}

/// NaN and the infinities as `%.4g` prints them.
pub(super) fn special(v: f64) -> Result<String, String> {
    four(v, "")
}

pub(super) fn decimal(v: f64) -> Result<String, String> {
    if v == 0.0 || !v.is_finite() {
        return four(v, "");
    }
    let (mut v, mut prefix) = (v, "");
    if v.abs() >= 1.0 {
        for p in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if v.abs() < 1000.0 {
                break;
            }
            prefix = p;
            v /= 1000.0;
        }
    } else {
        for p in ["m", "u", "n", "p", "f", "a", "z", "y"] {
            if v.abs() >= 1.0 {
                break;
            }
            prefix = p;
            v *= 1000.0;
        }
    }
    four(v, prefix)
}

pub(super) fn binary(v: f64) -> Result<String, String> {
    if v.abs() <= 1.0 || !v.is_finite() {
        return four(v, "");
    }
    let (mut v, mut prefix) = (v, "");
    for p in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if v.abs() < 1024.0 {
            break;
        }
        prefix = p;
        v /= 1024.0;
    }
    four(v, prefix)
}

pub(super) fn percentage(v: f64) -> Result<String, String> {
    four(v * 100.0, "%")
}

/// Source: prometheus/common/helpers/templates `HumanizeDuration`.
pub(crate) fn duration(v: f64) -> Result<String, String> {
    if !v.is_finite() {
        return four(v, "");
    }
    if v == 0.0 {
        return four(v, "s");
    }
    if v.abs() >= 1.0 {
        let (sign, v) = if v < 0.0 { ("-", -v) } else { ("", v) };
        let whole = v as i64;
        let (days, hours) = (whole / 86_400, whole / 3600 % 24);
        let (minutes, seconds) = (whole / 60 % 60, whole % 60);
        return Ok(match () {
            () if days != 0 => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
            () if hours != 0 => format!("{sign}{hours}h {minutes}m {seconds}s"),
            () if minutes != 0 => format!("{sign}{minutes}m {seconds}s"),
            () => return printf::sprintf("%s%.4gs", &[Value::from(sign), Value::Float(v)]),
        });
    }
    let (mut v, mut prefix) = (v, "");
    for p in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = p;
        v *= 1000.0;
    }
    four(v, &format!("{prefix}s"))
}
