//! Globs over the pieces of a name: `web.*.requests`; a star is one whole piece.

/// A compiled glob.
#[derive(Debug)]
pub(super) struct Glob(Vec<Option<Box<str>>>);

impl Glob {
    /// # Errors
    /// When it can match no name.
    pub(super) fn new(text: &str) -> Result<Glob, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let piece = |piece: &str| match piece {
            "*" => Ok(None),
            _ if !piece.is_empty() && piece.chars().all(plain) => Ok(Some(Box::from(piece))),
            _ => Err(format!(
                "{piece:?} is no piece of a glob: letters, digits, _ and -, or * alone \
                 (for expressions: match_type: regex)"
            )),
        };
        text.split('.')
            .map(piece)
            .collect::<Result<_, _>>()
            .map(Glob)
    }

    /// How many pieces a name must have.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What stands where the stars are, if it matches.
    pub(super) fn captures<'n>(&self, pieces: &[&'n str]) -> Option<Vec<&'n str>> {
        let each = || self.0.iter().zip(pieces);
        let fits = |(own, piece): (&Option<Box<str>>, &&str)| {
            own.as_deref().is_none_or(|own| own == *piece)
        };
        if self.0.len() != pieces.len() || !each().all(fits) {
            return None;
        }
        let stars = each().filter(|(own, _)| own.is_none());
        Some(stars.map(|(_, piece)| *piece).collect())
    }

    /// Whether it says, from the left, more exactly what it is for.
    pub(super) fn is_finer(&self, than: &Glob) -> bool {
        let stars = |glob: &Glob| glob.0.iter().map(Option::is_none).collect::<Vec<_>>();
        stars(self) < stars(than)
    }
}

/// `template` with `$1` and `${1}` filled in; what refers to nothing is empty, as are names.
pub(super) fn fill(template: &str, captures: &[&str]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (braced, name) = match after.strip_prefix('{') {
            Some(name) => (true, name),
            None => (false, after),
        };
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = name.split_at(end.unwrap_or(name.len()));
        if name.is_empty() {
            out.push('$');
            rest = &rest[at + 1..];
            continue;
        }
        let number: Option<usize> = name.parse().ok();
        let found = number.and_then(|n| captures.get(n.checked_sub(1)?));
        out.push_str(found.unwrap_or(&""));
        rest = match braced {
            true => after.strip_prefix('}').unwrap_or(after),
            false => after,
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_piece() {
        let check = |glob: &str, name: &str, expect: Option<&[&str]>| {
            let pieces: Vec<&str> = name.split('.').collect();
            let found = Glob::new(glob).unwrap().captures(&pieces);
            assert_eq!(found.as_deref(), expect, "{glob} {name}");
        };
        check("a.*.c", "a.b.c", Some(&["b"]));
        check("a.*.c", "a.b.d", None);
        check("a.*", "a.b.c", None);
        check("a.*", "a.", Some(&[""]));
        check("*", "a", Some(&["a"]));
        check("a.2xx", "a.2xx", Some(&[]));
        for odd in ["", ".", "a.", "a*.b", "a.(.*)", "a b"] {
            assert!(Glob::new(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn templates_refer_to_stars_by_number() {
        let check = |template: &str, expect: &str| {
            assert_eq!(fill(template, &["x", "y"]), expect, "{template}");
        };
        check("$1", "x");
        check("${2}_total", "y_total");
        check("$1-$2-$3", "x-y-");
        // Underscores belong to the name, and no star is called so.
        check("$1_foo", "");
        check("a $ b", "a $ b");
        check("$0", "");
        check("plain", "plain");
    }
}
