//! Passwords from where libpq finds them: `PGPASSWORD`, then the file of `PGPASSFILE` or
//! `~/.pgpass`.

use std::path::{Path, PathBuf};

use super::dsn::Dsn;

/// The largest password file read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The environment as far as it is about passwords.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    password: Option<String>,
    passfile: Option<PathBuf>,
}

impl Surroundings {
    /// What the process was started with.
    pub(super) fn of_process() -> Surroundings {
        let home = || std::env::var_os("HOME").map(|h| Path::new(&h).join(".pgpass"));
        Surroundings {
            password: std::env::var("PGPASSWORD").ok(),
            passfile: std::env::var_os("PGPASSFILE")
                .map(PathBuf::from)
                .or_else(home),
        }
    }

    /// The password for `database`, or why the one meant for it cannot be used.
    pub(super) fn password(&self, dsn: &Dsn, database: &str) -> (Option<String>, Option<String>) {
        if let Some(password) = dsn.password().map(str::to_owned).or(self.password.clone()) {
            return (Some(password), None);
        }
        let Some(file) = dsn.passfile().or_else(|| self.passfile.clone()) else {
            return (None, None);
        };
        match read(&file) {
            Ok(text) => (find(&text, dsn, database), None),
            Err(Unusable::Absent) => (None, None),
            Err(Unusable::Because(why)) => (None, Some(why)),
        }
    }
}

enum Unusable {
    Absent,
    Because(String),
}

/// Reads a password file; one that others may read is not used, as in libpq.
fn read(file: &Path) -> Result<String, Unusable> {
    use std::os::unix::fs::PermissionsExt;
    let shown = file.display();
    let meta = std::fs::metadata(file).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Unusable::Absent,
        _ => Unusable::Because(format!("reading {shown}: {e}")),
    })?;
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return Err(Unusable::Because(format!("{shown} is no password file")));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(Unusable::Because(format!(
            "{shown} is not used because others may read it: chmod 600 {shown}"
        )));
    }
    std::fs::read_to_string(file).map_err(|e| Unusable::Because(format!("reading {shown}: {e}")))
}

/// The password of the first line `host:port:database:user:password` that fits; `*` fits all.
fn find(text: &str, dsn: &Dsn, database: &str) -> Option<String> {
    let host = if dsn.is_socket() {
        "localhost"
    } else {
        dsn.host()
    };
    let port = dsn.port().ok()?.to_string();
    let wanted = [host, &port, database, dsn.user()?];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = fields(line);
            let [first @ .., password] = fields.as_slice() else {
                return None;
            };
            let fits = first.len() == wanted.len()
                && first
                    .iter()
                    .zip(wanted)
                    .all(|(field, wanted)| field == "*" || field == wanted);
            fits.then(|| password.clone())
        })
}

/// The five fields of a line; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            c => c,
        };
        if let Some(last) = fields.last_mut() {
            last.push(c);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a comment\n\
        other:5432:*:*:no\n\
        db:*:app:mon:for app\n\
        db:5432:*:mon:a\\:b\\\\c:d\n\
        localhost:*:*:*:local\n";

    fn check(dsn: &str, database: &str, expect: Option<&str>) {
        let dsn = Dsn::parse(dsn).unwrap();
        assert_eq!(find(FILE, &dsn, database).as_deref(), expect);
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        check("host=db user=mon", "app", Some("for app"));
        check("host=db user=mon", "shop", Some("a:b\\c:d"));
        check("host=db user=else", "app", None);
        check("host=/tmp user=mon", "app", Some("local"));
    }

    #[test]
    fn a_file_others_may_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pass");
        std::fs::write(&file, "*:*:*:*:hunter2\n").unwrap();
        let from = Surroundings {
            password: None,
            passfile: Some(file.clone()),
        };
        let dsn = Dsn::parse("host=db user=mon").unwrap();
        for (mode, expect) in [(0o600, Some("hunter2")), (0o644, None)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let (password, problem) = from.password(&dsn, "app");
            assert_eq!(password.as_deref(), expect);
            assert_eq!(problem.is_some(), expect.is_none());
            assert!(!problem.unwrap_or_default().contains("hunter2"));
        }
    }
}
