//! File patterns: `*`, `?` and `[a-z]` within one path component.

use std::path::{Path, PathBuf};

/// Files that match `pattern`, sorted. A relative pattern starts at `base`.
/// A pattern without wildcards gives its file whether it exists or not, so that a missing
/// file is noticed where it is read.
#[must_use]
pub fn expand(base: &Path, pattern: &str) -> Vec<PathBuf> {
    expand_at_most(base, pattern, usize::MAX)
}

/// As [`expand`], looking at no more than `entries_max` entries of the folders of one component.
#[must_use]
pub fn expand_at_most(base: &Path, pattern: &str, entries_max: usize) -> Vec<PathBuf> {
    let mut found = vec![if pattern.starts_with('/') {
        PathBuf::from("/")
    } else {
        base.to_path_buf()
    }];
    for component in pattern.split('/').filter(|c| !c.is_empty() && *c != ".") {
        if !component.contains(['*', '?', '[']) {
            for path in &mut found {
                path.push(component);
            }
            continue;
        }
        let mut next: Vec<PathBuf> = Vec::new();
        let mut entries_left = entries_max;
        for folder in &found {
            // A folder that cannot be read matches nothing, as in Go's filepath.Glob.
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            next.extend(entries.take(entries_left).flatten().filter_map(|entry| {
                entries_left -= 1;
                let name = entry.file_name();
                matches(component, name.to_str()?).then(|| entry.path())
            }));
        }
        found = next;
    }
    found.sort();
    found
}

/// Whether `name` matches the pattern of one component.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Greedy with one way back to the last star: linear in practice, quadratic at worst.
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        if n == name.len() && p == pattern.len() {
            return true;
        }
        let step = (n < name.len() && p < pattern.len())
            .then(|| one(&pattern[p..], name[n]))
            .flatten();
        match (step, retry) {
            (Some(taken), _) => {
                p += taken;
                n += 1;
            }
            (None, Some((star, at))) if at < name.len() => {
                retry = Some((star, at + 1));
                p = star;
                n = at + 1;
            }
            _ => return false,
        }
    }
}

/// Pattern characters used up when the first element matches `c`.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern[0] {
        '?' => Some(1),
        '[' => {
            let close = pattern.iter().skip(1).position(|p| *p == ']')? + 1;
            let class = &pattern[1..close];
            let (negated, class) = match class.first() {
                Some('^') => (true, &class[1..]),
                _ => (false, class),
            };
            let mut inside = false;
            let mut i = 0;
            while i < class.len() {
                if i + 2 < class.len() && class[i + 1] == '-' {
                    inside |= class[i] <= c && c <= class[i + 2];
                    i += 3;
                } else {
                    inside |= class[i] == c;
                    i += 1;
                }
            }
            (inside != negated).then_some(close + 1)
        }
        literal => (literal == c).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_within_a_name() {
        for (pattern, name, expect) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "aXXbYYbc", true),
            ("?.yml", "ab.yml", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn a_relative_pattern_starts_at_the_folder_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rules.d")).unwrap();
        for name in ["b.yml", "a.yml", "c.txt"] {
            std::fs::write(dir.path().join("rules.d").join(name), "").unwrap();
        }
        let found = expand(dir.path(), "rules.d/*.yml");
        let names: Vec<_> = found
            .iter()
            .filter_map(|p| p.file_name()?.to_str())
            .collect();
        assert_eq!(names, ["a.yml", "b.yml"]);
        assert_eq!(
            expand(dir.path(), "none.yml"),
            [dir.path().join("none.yml")]
        );
    }
}
