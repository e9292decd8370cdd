//! Keys of well-known services, told by the prefix their issuers chose for this purpose.

use std::fmt::Write as _;
use std::ops::Range;

use crate::text::{is_word, starts_token};

/// A form of key: its prefix, and how the rest looks.
struct Form {
    /// A pattern without repetition of unknown length.
    prefix: &'static str,
    /// What follows: a pattern of one symbol.
    symbol: &'static str,
    /// How many symbols there are at least; more of them belong to the key.
    min: usize,
}

const fn form(prefix: &'static str, symbol: &'static str, min: usize) -> Form {
    Form {
        prefix,
        symbol,
        min,
    }
}

/// Prefixes and lengths as the services document them for secret scanners.
const FORMS: &[Form] = &[
    // AWS access key ids; the secret half is found by its name.
    form("(?:AKIA|ASIA)", "[A-Z0-9]", 16),
    // GitHub, GitLab, npm, PyPI, Docker Hub.
    form("gh[pousr]_", "[A-Za-z0-9]", 36),
    form("github_pat_", "[A-Za-z0-9_]", 22),
    form("glpat-", "[A-Za-z0-9_-]", 20),
    form("npm_", "[A-Za-z0-9]", 36),
    form("pypi-", "[A-Za-z0-9_-]", 40),
    form("dckr_pat_", "[A-Za-z0-9_-]", 20),
    // Slack, Telegram, SendGrid.
    form("xox[a-z]-", "[A-Za-z0-9-]", 10),
    form("xapp-", "[A-Za-z0-9-]", 20),
    form("(?:bot)?[0-9]{8,10}:AA", "[A-Za-z0-9_-]", 33),
    form(r"SG\.[A-Za-z0-9_-]{16,32}\.", "[A-Za-z0-9_-]", 16),
    // Addresses that are keys: who knows one may post there.
    form(
        r"hooks\.slack\.com/(?:services|workflows|triggers)/T",
        "[A-Za-z0-9/_-]",
        20,
    ),
    form(
        r"discord(?:app)?\.com/api/webhooks/[0-9]{15,20}/",
        "[A-Za-z0-9_-]",
        40,
    ),
    // Stripe.
    form("[sr]k_(?:live|test|prod)_", "[A-Za-z0-9]", 10),
    form("whsec_", "[A-Za-z0-9+/=_-]", 20),
    // Google, Anthropic, OpenAI, Hugging Face.
    form("AIza", "[A-Za-z0-9_-]", 35),
    form("sk-(?:ant|proj|svcacct)-", "[A-Za-z0-9_-]", 20),
    form("sk-", "[A-Za-z0-9]", 40),
    form("hf_", "[A-Za-z0-9]", 34),
    // DigitalOcean, Supabase.
    form("do[opr]_v1_", "[a-f0-9]", 64),
    form("sb[pr]_", "[a-f0-9]", 40),
    form("sb_secret_", "[A-Za-z0-9_-]", 20),
];

pub(super) fn pattern() -> String {
    let mut all = String::new();
    for form in FORMS {
        if !all.is_empty() {
            all.push('|');
        }
        // Writing to a string cannot fail.
        let _ = write!(all, "{}{}{{{}}}", form.prefix, form.symbol, form.min);
    }
    all
}

pub(super) fn locate(text: &[u8], anchor: Range<usize>) -> Option<Range<usize>> {
    if !starts_token(text, anchor.start) {
        return None;
    }
    let more = text[anchor.end..]
        .iter()
        .take_while(|byte| is_word(**byte) || matches!(byte, b'-' | b'+' | b'/' | b'='))
        .count();
    Some(anchor.start..anchor.end + more)
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    /// Built at run time, so that scanners of this repository stay quiet.
    fn key(prefix: &str, rest: &str, times: usize) -> String {
        format!("{prefix}{}", rest.repeat(times))
    }

    #[test]
    fn keys_of_each_service() {
        for key in [
            key("AKIA", "J7Q2", 4),
            key("ASIA", "J7Q2", 4),
            key("ghp_", "a1B2", 9),
            key("ghs_", "a1B2", 9),
            key("github_pat_", "11A_bc", 14),
            key("glpat-", "a1B2-", 4),
            key("npm_", "a1B2", 9),
            key("pypi-", "AgEIcHl-", 8),
            key("dckr_pat_", "a1B2_", 5),
            key("xoxb-", "123-aB", 5),
            key("xapp-", "1-A0", 8),
            key("123456789:AA", "Hd_", 11),
            key(&key("SG.", "a1B2", 5), ".a1B2c3D4e5F6g7H8", 1),
            key("sk_live_", "a1B2", 6),
            key("rk_test_", "a1B2", 6),
            key("whsec_", "a1B2", 8),
            key("AIza", "a1B2_", 7),
            key("sk-ant-", "api03-", 5),
            key("sk-", "a1B2", 12),
            key("hf_", "aB", 17),
            key("dop_v1_", "0a", 32),
            key("sbp_", "0a", 20),
            key("sb_secret_", "a1B2_", 5),
            key("bot123456789:AA", "Hd_", 11),
            key("hooks.slack.com/services/T", "0A/B0C", 6),
            key("discord.com/api/webhooks/123456789012345678/", "a1B_", 16),
        ] {
            check(&format!("using {key}."), "using <key>.");
            check(&format!(r#"{{"m":"x\n{key}"}}"#), r#"{"m":"x\n<key>"}"#);
        }
    }

    #[test]
    fn words_that_begin_alike() {
        keeps("AKIA");
        keeps("XAKIAJ7Q2J7Q2J7Q2J7Q2");
        keeps("task-0123456789012345678901234567890123456789");
        keeps("npm_config_cache=/tmp");
        keeps("12:34:56.789 123456789:AAA");
    }
}
