//! `printf` with the verbs, flags, widths and complaints of Go's fmt package.

use model::number::{format_exponent, format_fixed, format_sprint};

use crate::Value;
use crate::print::sprint;

/// Widest field and longest fraction; Go's own bound is a million.
const WIDTH_MAX: usize = 4096;

#[derive(Default, Clone, Copy)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's `fmt.Sprintf`. Wrong verbs and missing arguments show in the text, as in Go.
///
/// # Errors
/// When a width or precision is beyond 4096.
pub(crate) fn sprintf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut next = 0;
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = rest.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                _ => spec.zero = true,
            }
        }
        let mut number = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
                          spec: &mut Spec,
                          out: &mut String|
         -> Result<Option<usize>, String> {
            let mut n = None;
            if rest.next_if_eq(&'*').is_some() {
                match args.get(next) {
                    Some(Value::Int(i)) => {
                        spec.minus |= *i < 0;
                        n = usize::try_from(i.unsigned_abs()).ok();
                    }
                    _ => out.push_str("%!(BADWIDTH)"),
                }
                next += 1;
            } else {
                while let Some(d) = rest.peek().and_then(|c| c.to_digit(10)) {
                    rest.next();
                    n = Some(
                        n.unwrap_or(0_usize)
                            .saturating_mul(10)
                            .saturating_add(d as usize),
                    );
                }
            }
            if n.is_some_and(|n| n > WIDTH_MAX) {
                return Err(format!("printf: width beyond {WIDTH_MAX}"));
            }
            Ok(n)
        };
        spec.width = number(&mut rest, &mut spec, &mut out)?;
        if rest.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut rest, &mut spec, &mut out)?.unwrap_or(0));
        }
        let Some(verb) = rest.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.get(next) else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        next += 1;
        verb_into(&mut out, spec, verb, arg);
    }
    if next < args.len() {
        let extra: Vec<String> = args[next..]
            .iter()
            .map(|a| match a {
                Value::Nil => "<nil>".to_owned(),
                a => format!("{}={}", a.type_name(), sprint(a)),
            })
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

fn verb_into(out: &mut String, spec: Spec, verb: char, arg: &Value) {
    if verb == 'T' {
        return pad(out, spec, arg.type_name());
    }
    match (verb, arg) {
        ('v', Value::Nil) => pad(out, spec, "<nil>"),
        (_, Value::Nil) => out.push_str(&format!("%!{verb}(<nil>)")),
        ('v' | 's' | 'q', Value::List(items)) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                verb_into(out, spec, verb, item);
            }
            out.push(']');
        }
        ('v', Value::Float(f)) => float(out, spec, 'g', *f),
        ('v' | 'd', Value::Int(i)) => integer(out, spec, *i, 10, false),
        ('d', Value::Duration(d)) => integer(out, spec, d.nanos(), 10, false),
        ('b', Value::Int(i)) => integer(out, spec, *i, 2, false),
        ('o', Value::Int(i)) => integer(out, spec, *i, 8, false),
        ('x', Value::Int(i)) => integer(out, spec, *i, 16, false),
        ('X', Value::Int(i)) => integer(out, spec, *i, 16, true),
        ('c', Value::Int(i)) => pad(out, spec, &rune(*i).to_string()),
        ('q', Value::Int(i)) => pad(out, spec, &format!("'{}'", rune(*i))),
        ('U', Value::Int(i)) => pad(out, spec, &format!("U+{i:04X}")),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(f)) => float(out, spec, verb, *f),
        ('t' | 'v', Value::Bool(b)) => pad(out, spec, if *b { "true" } else { "false" }),
        ('v' | 's', v) if stringish(v) || verb == 'v' => {
            let text = sprint(v);
            match spec
                .precision
                .filter(|_| verb == 's' || v.as_str().is_some())
            {
                Some(p) => pad(out, spec, &text.chars().take(p).collect::<String>()),
                None => pad(out, spec, &text),
            }
        }
        ('q', v) if stringish(v) => {
            let text = quote(&sprint(v));
            pad(out, spec, &text);
        }
        ('x' | 'X', v) if v.as_str().is_some() => {
            let hex: String = sprint(v).bytes().map(|b| format!("{b:02x}")).collect();
            pad(
                out,
                spec,
                &if verb == 'X' { hex.to_uppercase() } else { hex },
            );
        }
        (_, v) => out.push_str(&format!("%!{verb}({}={})", v.type_name(), sprint(v))),
    }
}

/// Strings, and types with a `String` method.
fn stringish(v: &Value) -> bool {
    matches!(
        v,
        Value::String(_)
            | Value::Safe(_)
            | Value::Time(_)
            | Value::Duration(_)
            | Value::Map(_)
            | Value::Object(_)
    )
}

fn rune(i: i64) -> char {
    u32::try_from(i)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or('\u{fffd}')
}

/// Go's `strconv.Quote` for the characters that occur.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn pad(out: &mut String, spec: Spec, text: &str) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else {
        out.extend(std::iter::repeat_n(
            if spec.zero { '0' } else { ' ' },
            missing,
        ));
        out.push_str(text);
    }
}

/// Sign first, then zeros, then digits.
fn pad_number(out: &mut String, spec: Spec, sign: &str, digits: &str, zero: bool) {
    let len = sign.len() + digits.len();
    let missing = spec.width.unwrap_or(0).saturating_sub(len);
    if zero && spec.zero && !spec.minus {
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    } else {
        pad(
            out,
            Spec {
                zero: false,
                ..spec
            },
            &format!("{sign}{digits}"),
        );
    }
}

fn sign(spec: Spec, negative: bool) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn integer(out: &mut String, spec: Spec, i: i64, base: u32, upper: bool) {
    let n = i.unsigned_abs();
    let (prefix, digits) = match base {
        2 => ("0b", format!("{n:b}")),
        8 => ("0", format!("{n:o}")),
        16 if upper => ("0X", format!("{n:X}")),
        16 => ("0x", format!("{n:x}")),
        _ => ("", n.to_string()),
    };
    let digits = match spec.precision {
        Some(p) => format!("{digits:0>p$}"),
        None => digits,
    };
    let sign = format!(
        "{}{}",
        sign(spec, i < 0),
        if spec.sharp { prefix } else { "" }
    );
    pad_number(out, spec, &sign, &digits, spec.precision.is_none());
}

fn float(out: &mut String, spec: Spec, verb: char, f: f64) {
    if !f.is_finite() {
        let word = if f.is_nan() { "NaN" } else { "Inf" };
        // Go prints +Inf for %v and %g alike, and NaN without a sign.
        let sign = match () {
            () if f == f64::NEG_INFINITY => "-",
            () if f == f64::INFINITY => "+",
            () => sign(spec, false),
        };
        return pad(
            out,
            Spec {
                zero: false,
                ..spec
            },
            &format!("{sign}{word}"),
        );
    }
    let magnitude = f.abs();
    let digits = match (verb.to_ascii_lowercase(), spec.precision) {
        ('f', p) => format!("{magnitude:.*}", p.unwrap_or(6)),
        ('e', p) => go_exponent(&format!("{magnitude:.*e}", p.unwrap_or(6))),
        (_, None) => format_sprint(magnitude),
        (_, Some(p)) => general(magnitude, p.max(1)),
    };
    let digits = if verb.is_ascii_uppercase() {
        digits.to_uppercase()
    } else {
        digits
    };
    pad_number(out, spec, sign(spec, f.is_sign_negative()), &digits, true);
}

/// `%.Pg`: P significant digits, trailing zeros dropped.
fn general(f: f64, precision: usize) -> String {
    let rounded = format!("{f:.*e}", precision - 1);
    let exponent: i32 = rounded
        .split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    // The rounded value has at most `precision` digits, so its shortest form is the answer.
    let value: f64 = rounded.parse().unwrap_or(f);
    if exponent < -4 || exponent >= precision as i32 {
        format_exponent(value)
    } else {
        format_fixed(value)
    }
}

/// Rust writes `1e6`, Go `1e+06`.
fn go_exponent(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = exponent
        .strip_prefix('-')
        .map_or(('+', exponent), |e| ('-', e));
    format!("{digits}e{sign}{exponent:0>2}")
}
