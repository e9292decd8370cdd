use super::*;

/// Joins lines and tells the entries, between `---`.
fn check(text: &str) {
    let expect: Vec<&str> = text
        .split("\n---\n")
        .map(|entry| entry.trim_end_matches('\n'))
        .collect();
    let mut entries: Vec<String> = Vec::new();
    let mut open: Option<Trace> = None;
    for line in text.lines().filter(|line| *line != "---") {
        let is_error = entries.last().is_some_and(|head| head.contains("ERROR"));
        let known = open.as_mut();
        if known.is_some_and(|trace| trace.continues(line.as_bytes(), 0, is_error)) {
            let last = entries.last_mut().unwrap();
            last.push('\n');
            last.push_str(line);
        } else {
            open = Some(Trace::new(line.as_bytes()));
            entries.push(line.to_owned());
        }
    }
    let entries: Vec<&str> = entries
        .iter()
        .map(|entry| entry.trim_end_matches('\n'))
        .collect();
    assert_eq!(entries, expect);
}

#[test]
fn java() {
    check(
        "\
starting
---
2026-11-22 04:00:00 ERROR c.e.Main : request failed
java.lang.IllegalStateException: closed
\tat com.example.Main.run(Main.java:12)
\tat com.example.Main$$Lambda/0x01.accept(Unknown Source)
\tSuppressed: java.io.IOException: again
\t\tat com.example.A.close(A.java:3)
Caused by: java.io.IOException: reset
\tat com.example.B.read(B.java:7)
\t... 12 more
---
next
---
Exception in thread \"main\" java.lang.Error: x
\tat com.example.Main.main(Main.java:3)
---
java.lang.Error of no one
",
    );
}

#[test]
fn python() {
    check(
        "\
ERROR:root:failed
Traceback (most recent call last):
  File \"/app/a.py\", line 3, in f
    return 1 / 0
           ~~^~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"/app/a.py\", line 5, in <module>
    raise ValueError(\"x\")
ValueError: x
---
INFO:root:next
---
Traceback (most recent call last):
  File \"/app/a.py\", line 3, in f
KeyError: 'x'
---
next
",
    );
}

#[test]
fn go() {
    check(
        "\
listening
---
panic: runtime error: index out of range [3] with length 1
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x0]

goroutine 1 [running]:
main.(*server).run(0xc000012345, {0x1, 0x2})
\t/app/main.go:12 +0x1d
main.main()
\t/app/main.go:7 +0x25
created by main.start in goroutine 1
\t/app/main.go:5 +0x5d
exit status 2
---
2026/11/22 04:00:00 listening
",
    );
}

#[test]
fn node() {
    check(
        "\
/app/index.js:3
  throw new Error('x');
  ^

Error: x
    at Object.<anonymous> (/app/index.js:3:9)
    at node:internal/main/run_main_module:28:49 {
  code: 'ENOENT',
  path: '/x'
}
---
TypeError: y is not a function
    at f (/app/a.js:1:2)
    at async Promise.all (index 0)
---
listening
",
    );
}

#[test]
fn dot_net() {
    check(
        "\
Unhandled exception. System.InvalidOperationException: a
 ---> System.Exception: b
   at Program.F() in /src/Program.cs:line 3
   --- End of inner exception stack trace ---
   at Program.Main()
---
next
",
    );
}

#[test]
fn a_private_key_is_one_entry() {
    check(
        "\
-----BEGIN RSA PRIVATE KEY-----
MIIabc
def
-----END RSA PRIVATE KEY-----
---
next
",
    );
}

#[test]
fn lines_that_only_look_alike_stay_apart() {
    check("     1\ta\n---\n     2\tb\n---\n  at last\n---\n{\"a\":1}\n---\n    at f (x:1)\n");
    check("/health\n---\n  ok\n");
    check("a\n---\n\n---\nb\n");
}
