//! `pg_settings_*`: a family per setting, in seconds or bytes where the server counts in other units.

use super::spec::Out;
use super::table::Table;
use crate::exposition::Kind;

/// The query. Asked over a connection of its own, because ours has settings of its own.
pub(super) const QUERY: &str = "SELECT name, setting, unit, vartype FROM pg_settings \
     WHERE vartype IN ('bool', 'integer', 'real')";

pub(super) fn emit(table: &Table, out: &mut impl Out) {
    for row in table.rows() {
        let (Some(name), Some(setting)) = (row.text("name"), row.text("setting")) else {
            continue;
        };
        let unit = row.text("unit").unwrap_or("");
        let boolean = row.text("vartype") == Some("bool");
        let Some((value, suffix)) = value(setting, unit, boolean) else {
            continue;
        };
        let plain: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let (family, help) = match suffix {
            "" => (
                format!("pg_settings_{plain}"),
                format!("Server Parameter: {name}"),
            ),
            _ => (
                format!("pg_settings_{plain}_{suffix}"),
                format!("Server Parameter: {name} [Units converted to {suffix}.]"),
            ),
        };
        out.family(&family, Kind::Gauge, &help);
        out.sample(&family, &[], value);
    }
}

/// A setting in base units, and which those are. `None` when it is no number.
fn value(setting: &str, unit: &str, boolean: bool) -> Option<(f64, &'static str)> {
    if boolean {
        return Some((if setting == "on" { 1.0 } else { 0.0 }, ""));
    }
    // Some managed servers write the unit behind the number.
    let digits = setting.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().ok()?;
    let count = unit.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    // A divisor for what is smaller: division is exact where a thousandth is not.
    let (factor, divisor, suffix) = match &unit[count.len()..] {
        "" => (1.0, 1.0, ""),
        "us" => (1.0, 1e6, "seconds"),
        "ms" => (1.0, 1e3, "seconds"),
        "s" => (1.0, 1.0, "seconds"),
        "min" => (60.0, 1.0, "seconds"),
        "h" => (3600.0, 1.0, "seconds"),
        "d" => (86_400.0, 1.0, "seconds"),
        "B" => (1.0, 1.0, "bytes"),
        "kB" => (1024.0, 1.0, "bytes"),
        "MB" => (1_048_576.0, 1.0, "bytes"),
        "GB" => (1_073_741_824.0, 1.0, "bytes"),
        "TB" => (1_099_511_627_776.0, 1.0, "bytes"),
        _ => return None,
    };
    // `8kB`: the setting counts blocks.
    let count = if count.is_empty() {
        1.0
    } else {
        count.parse().ok()?
    };
    // -1 says "none" or "the default" and is no amount.
    let value = if number == -1.0 {
        number
    } else {
        number * count * factor / divisor
    };
    Some((value, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::spec::tests::Told;

    fn check(setting: &str, unit: &str, kind: &str, expect: &str) {
        let table = Table::of(&format!(
            "name|setting|unit|vartype\next.a_b|{setting}|{unit}|{kind}"
        ));
        let mut told = Told::default();
        emit(&table, &mut told);
        let sample = told.0.lines().nth(1).unwrap_or("");
        assert_eq!(sample, expect, "{setting} {unit}");
    }

    #[test]
    fn settings_are_told_in_base_units() {
        check("on", "~", "bool", "pg_settings_ext_a_b{} 1");
        check("off", "~", "bool", "pg_settings_ext_a_b{} 0");
        check("0.5", "~", "real", "pg_settings_ext_a_b{} 0.5");
        check(
            "16384",
            "8kB",
            "integer",
            "pg_settings_ext_a_b_bytes{} 134217728",
        );
        check("2", "MB", "integer", "pg_settings_ext_a_b_bytes{} 2097152");
        check("200", "ms", "integer", "pg_settings_ext_a_b_seconds{} 0.2");
        check("5", "min", "integer", "pg_settings_ext_a_b_seconds{} 300");
        check("-1", "ms", "integer", "pg_settings_ext_a_b_seconds{} -1");
        check(
            "32MB",
            "MB",
            "integer",
            "pg_settings_ext_a_b_bytes{} 33554432",
        );
        check("word", "~", "integer", "");
        check("3", "furlong", "integer", "");
    }
}
