use super::*;
#[test]
fn a_wrong_operator_is_pointed_at() {
    assert_eq!(
        parse("1 + * 2").unwrap_err().to_string(),
        "1:5: parse error: unexpected <op:*>"
    );
}
