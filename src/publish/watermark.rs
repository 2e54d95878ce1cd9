//! The highest offset of a file with nothing unacknowledged below it: the only thing that moves a checkpoint.

use std::collections::VecDeque;

/// The spans of one cursor that were handed out, oldest first, and how far they are acknowledged.
///
/// Spans are registered in the order in which the file is read, each starting where the one before ended (a gap is
/// taken as read and acknowledged with the span after it). Acknowledgements come in any order.
#[derive(Debug, Clone, Default)]
pub struct Watermark {
    spans: VecDeque<Outstanding>,
}

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    batch: u64,
    end: u64,
    acknowledged: bool,
}

impl Watermark {
    /// A span up to `end` went out with `batch`.
    ///
    /// Batches are numbered as they are closed, so that a cursor's spans come with rising numbers.
    pub fn register(&mut self, batch: u64, end: u64) {
        debug_assert!(
            self.spans
                .back()
                .is_none_or(|last| last.batch < batch && last.end <= end)
        );
        self.spans.push_back(Outstanding {
            batch,
            end,
            acknowledged: false,
        });
    }

    /// Every record of `batch` has its final outcome; the new watermark if that moves it.
    pub fn acknowledge(&mut self, batch: u64) -> Option<u64> {
        let place = self
            .spans
            .binary_search_by_key(&batch, |span| span.batch)
            .ok()?;
        self.spans[place].acknowledged = true;
        let mut moved = None;
        while self.spans.front().is_some_and(|span| span.acknowledged) {
            moved = self.spans.pop_front().map(|span| span.end);
        }
        moved
    }

    /// Whether everything handed out is acknowledged.
    pub fn is_settled(&self) -> bool {
        self.spans.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_never_passes_an_unacknowledged_span() {
        let mut watermark = Watermark::default();
        watermark.register(1, 10);
        watermark.register(2, 20);
        watermark.register(5, 30);
        assert_eq!(watermark.acknowledge(2), None);
        assert_eq!(watermark.acknowledge(5), None);
        assert_eq!(watermark.acknowledge(1), Some(30));
        assert!(watermark.is_settled());
    }

    #[test]
    fn an_unknown_batch_moves_nothing() {
        let mut watermark = Watermark::default();
        watermark.register(4, 10);
        assert_eq!(watermark.acknowledge(3), None);
        assert_eq!(watermark.acknowledge(4), Some(10));
        assert_eq!(watermark.acknowledge(4), None);
    }

    proptest! {
        #[test]
        fn in_any_order_it_equals_the_longest_acknowledged_prefix(order in Just((0..40u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut watermark = Watermark::default();
            (0..40).for_each(|batch| watermark.register(batch, (batch + 1) * 7));
            let mut acknowledged = [false; 40];
            let mut reached = 0;
            for batch in order {
                acknowledged[batch as usize] = true;
                if let Some(end) = watermark.acknowledge(batch) {
                    prop_assert!(end > reached);
                    reached = end;
                }
                let prefix = acknowledged.iter().take_while(|done| **done).count() as u64;
                prop_assert_eq!(reached, prefix * 7);
            }
        }
    }
}
