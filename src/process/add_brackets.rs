//! `ADDBRACKETS`: the record as it is, its newline included, between `{` and `}`.

/// Appends the bracketed record; its bytes are not looked at.
pub fn convert(record: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    out.extend_from_slice(record);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newline_stays_inside() {
        for (record, expected) in [
            (&b"\"a\":1\n"[..], &b"{\"a\":1\n}"[..]),
            (b"\n", b"{\n}"),
            (b"", b"{}"),
            (b"x\r\n", b"{x\r\n}"),
            (b"\xff", b"{\xff}"),
        ] {
            let mut out = Vec::new();
            convert(record, &mut out);
            assert_eq!(out, expected, "{record:?}");
        }
    }
}
