#![no_main]
//! Any bytes split in any read sizes: the same records, and no byte lost, added or moved.

mod support;

use std::cell::RefCell;

use kinesis_agent::config::Split;
use kinesis_agent::tail::split::{End, Piece, RecordKind, SplitState, Splitter};
use support::flow;

thread_local! {
    static SPLITS: RefCell<[Split; 5]> = RefCell::new(
        [
            r#""skipHeaderLines": 0"#,
            r##""skipHeaderLines": 2, "skipLinesMatching": "#.*""##,
            r#""multiLineStartPattern": "[A-Z]""#,
            r#""dataProcessingOptions": [{"optionName": "CSVTOJSON", "customFieldNames": ["a"], "quoting": "RFC4180"}]"#,
            r#""fileFooterPattern": "END""#,
        ]
        .map(|keys| flow(keys).split),
    );
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [held, piece_bytes, text @ ..] = bytes else {
        return;
    };
    let held_bytes_max = usize::from(*held).max(1);
    SPLITS.with_borrow(|splits| {
        for split in splits {
            let at_once = records(split, held_bytes_max, text, text.len().max(1));
            let in_pieces = records(
                split,
                held_bytes_max,
                text,
                usize::from(*piece_bytes).max(1),
            );
            assert_eq!(at_once, in_pieces);
        }
        for split in [&splits[0], &splits[2], &splits[3]] {
            let whole: Vec<u8> = records(split, usize::MAX / 2, text, text.len().max(1))
                .into_iter()
                .flat_map(|(data, _)| data)
                .collect();
            assert_eq!(whole, text);
        }
    });
});

/// What a file gives that is read so many bytes at a time.
fn records(
    split: &Split,
    held_bytes_max: usize,
    text: &[u8],
    piece_bytes: usize,
) -> Vec<(Vec<u8>, RecordKind)> {
    let splitter = Splitter::new(split, held_bytes_max);
    let mut state = SplitState::at_start(split);
    let (mut start, mut filled, mut records) = (0, 0, Vec::new());
    loop {
        filled = (filled + piece_bytes).min(text.len());
        let end = match filled == text.len() {
            true => End::Final,
            false => End::More,
        };
        loop {
            match splitter.next(&mut state, &text[start..filled], 0, end) {
                Piece::Record { data, next, kind } => {
                    records.push((text[start..filled][data].to_vec(), kind));
                    assert!(next > 0, "no progress");
                    start += next;
                }
                Piece::Nothing { next } | Piece::Skipped { next, .. } => {
                    assert!(next > 0, "no progress");
                    start += next;
                }
                Piece::Incomplete => break,
                Piece::Over { .. } => return records,
            }
        }
        if end == End::Final {
            return records;
        }
    }
}
