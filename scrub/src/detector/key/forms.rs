//! How the keys look. Prefixes and lengths are as the services document them for secret scanners,
//! and as the rules of gitleaks have them.

use crate::trigger::{ByteSet, Trigger};

/// Which symbols a part of a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `0-9`.
    Digits,
    /// `0-9a-f`.
    Hex,
    /// `A-Z0-9`.
    Upper,
    /// `A-Za-z0-9`.
    Alnum,
    /// Letters, digits, `_`.
    Word,
    /// Letters, digits, `_`, `-`.
    Url,
    /// Letters, digits, `-`.
    Dash,
    /// Letters, digits, `_`, `-`, `.`.
    Dotted,
    /// Base64 of either alphabet, and parts of paths.
    Base64,
}

impl Class {
    /// All its bytes.
    fn set(self) -> ByteSet {
        let bytes: Vec<u8> = (0..=u8::MAX).filter(|byte| self.holds(*byte)).collect();
        ByteSet::of(&bytes)
    }

    pub(super) fn holds(self, byte: u8) -> bool {
        match self {
            Self::Digits => byte.is_ascii_digit(),
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dash => byte.is_ascii_alphanumeric() || byte == b'-',
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Base64 => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=')
            }
        }
    }
}

/// Where a key begins and what else is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With its prefix.
    Plain,
    /// The same, and six symbols at its end are a checksum.
    GitHub,
    /// So many symbols before its prefix, at least and at most.
    After(Class, (usize, usize)),
}

/// A form of key: its prefix, and how the rest looks.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// `a(b|c)`: one of several prefixes.
    prefix: &'static str,
    /// What follows.
    pub(super) symbols: Class,
    /// How many symbols there are at least; more of them belong to the key.
    pub(super) min: usize,
    /// Whether there are no more than the least.
    pub(super) exact: bool,
    pub(super) kind: Kind,
}

impl Form {
    /// A prefix and the first symbols: some prefixes are words, too.
    pub(super) fn triggers(&self) -> impl Iterator<Item = Trigger> {
        let first = self.symbols.set();
        let min = self.min;
        let prefixes = self.prefixes().into_iter();
        prefixes.map(move |prefix| Trigger::literal(&prefix).followed_by(first, min))
    }

    /// All prefixes.
    pub(super) fn prefixes(&self) -> Vec<String> {
        let Some((head, rest)) = self.prefix.split_once('(') else {
            return vec![self.prefix.to_owned()];
        };
        let (all, tail) = rest.split_once(')').unwrap_or((rest, ""));
        all.split('|')
            .map(|one| format!("{head}{one}{tail}"))
            .collect()
    }
}

const fn form(prefix: &'static str, symbols: Class, min: usize) -> Form {
    Form {
        prefix,
        symbols,
        min,
        exact: false,
        kind: Kind::Plain,
    }
}

const fn exact(prefix: &'static str, symbols: Class, min: usize) -> Form {
    Form {
        exact: true,
        ..form(prefix, symbols, min)
    }
}

const fn of_kind(kind: Kind, form: Form) -> Form {
    Form { kind, ..form }
}

use Class::{Alnum, Base64, Dash, Digits, Dotted, Hex, Upper, Url, Word};

pub(super) const FORMS: &[Form] = &[
    // AWS access key ids (the secret half is found by its name), Alibaba.
    exact("AKIA", Upper, 16),
    exact("ASIA", Upper, 16),
    exact("ABIA", Upper, 16),
    exact("ACCA", Upper, 16),
    exact("LTAI", Alnum, 20),
    // GitHub, GitLab, Bitbucket, Atlassian.
    of_kind(Kind::GitHub, form("gh(p|o|u|s|r)_", Alnum, 36)),
    form("github_pat_", Word, 22),
    form("glpat-", Dotted, 20),
    form("gl(dt|rt|ft)-", Dotted, 20),
    form("gl(ptt|cbt|imt)-", Dotted, 20),
    form("glsoat-", Url, 20),
    form("glagent-", Url, 20),
    form("gloas-", Url, 20),
    form("ATBB", Alnum, 32),
    form("AT(A|C)TT3", Base64, 60),
    // Packages and images.
    form("npm_", Alnum, 36),
    form("pypi-", Url, 40),
    form("dckr_pat_", Url, 20),
    form("dckr_oat_", Url, 20),
    form("rubygems_", Hex, 48),
    // Slack, Telegram, Discord, Teams.
    form("xox(a|b|c|d|e|o|p|r|s|t|x)-", Dash, 10),
    form("xapp-", Dash, 20),
    form("hooks.slack.com/services/", Base64, 20),
    form("hooks.slack.com/workflows/", Base64, 20),
    form("hooks.slack.com/triggers/", Base64, 20),
    form("discord.com/api/webhooks/", Base64, 55),
    form("discordapp.com/api/webhooks/", Base64, 55),
    of_kind(Kind::After(Digits, (8, 10)), form(":AA", Url, 33)),
    // Mail.
    form("SG.", Dotted, 36),
    exact("key-", Hex, 32),
    of_kind(Kind::After(Hex, (32, 32)), form("-us", Digits, 1)),
    form("xkeysib-", Dash, 64),
    // Payment.
    form("sk_(live|test|prod)_", Alnum, 10),
    form("rk_(live|test|prod)_", Alnum, 10),
    form("whsec_", Base64, 20),
    form("sq0(atp|csp)-", Url, 22),
    form("shp(at|ca|pa|ss)_", Hex, 32),
    form("rzp_(live|test)_", Alnum, 14),
    form("FLWSECK(-|_)", Dash, 12),
    form("EZ(A|T)K", Alnum, 54),
    form("shippo_(live|test)_", Hex, 40),
    form("access-production-", Dash, 36),
    form("access-development-", Dash, 36),
    // Google.
    form("AIza", Url, 35),
    form("GOCSPX-", Url, 28),
    form("ya29.", Url, 20),
    // Models: Anthropic, OpenAI, OpenRouter, Hugging Face, Groq, Perplexity, Replicate, xAI.
    form("sk-ant-", Url, 20),
    form("sk-proj-", Url, 20),
    form("sk-svcacct-", Url, 20),
    form("sk-admin-", Url, 20),
    form("sk-or-v1-", Hex, 64),
    form("sk-", Alnum, 40),
    form("hf_", Alnum, 34),
    form("gsk_", Alnum, 50),
    form("pplx-", Alnum, 40),
    exact("r8_", Alnum, 37),
    form("xai-", Alnum, 70),
    // Hosting and infrastructure.
    form("do(o|p|r)_v1_", Hex, 64),
    form("sb(p|r)_", Hex, 40),
    form("sb_secret_", Url, 20),
    form("hv(s|b).", Url, 24),
    of_kind(Kind::After(Alnum, (14, 14)), form(".atlasv1.", Base64, 60)),
    exact("dapi", Hex, 32),
    form("dp.(pt|st|ct|sa).", Dotted, 40),
    exact("pul-", Hex, 40),
    form("tskey-auth-", Dash, 20),
    form("tskey-api-", Dash, 20),
    form("tskey-client-", Dash, 20),
    form("fm2_", Base64, 100),
    form("nfp_", Alnum, 36),
    form("rnd_", Alnum, 28),
    form("napi_", Alnum, 60),
    form("pscale_tkn_", Dotted, 32),
    form("pscale_pw_", Dotted, 32),
    form("HRKU-AA", Url, 56),
    form("sha256~", Url, 43),
    form("CCIPAT_", Word, 60),
    // Observability and work.
    form("glsa_", Word, 32),
    form("glc_", Base64, 32),
    form("NR(AK|JS|II)-", Url, 19),
    form("sntrys_", Base64, 60),
    form("sntryu_", Hex, 64),
    form("dt0c01.", Dotted, 80),
    form("sq(p|u|a)_", Hex, 40),
    form("lin_api_", Alnum, 40),
    form("ntn_", Alnum, 40),
    form("PMAK-", Dash, 40),
    form("CFPAT-", Url, 43),
    form("figd_", Url, 40),
    form("tfp_", Dotted, 40),
    form("pat-(na|eu)1-", Dash, 36),
    form("pnu_", Alnum, 36),
    form("ops_eyJ", Base64, 200),
    form("duffel_(test|live)_", Url, 40),
    // Twilio, age, Mapbox.
    exact("SK", Hex, 32),
    form("AGE-SECRET-KEY-1", Upper, 50),
    form("sk.eyJ", Dotted, 60),
];
