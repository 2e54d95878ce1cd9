//! What is still looked for of contents that stood in a file before the one that stands there now, kept with its place.
//!
//! There is one place a file, and while its former content is looked for in copies there are two to be remembered. The
//! place speaks of what the file holds; what its former contents still owe is kept in the place's
//! [`extra`](Place::extra), before which stands what the place itself keeps there ([`Extra`](super::mark::Extra)).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use super::rotation::Loss;
use crate::checkpoint::{FileIdentity, Fingerprint, Place, PlaceState};

/// Former contents that are kept with a place, those that were looked for first.
pub const OWED_MAX: usize = 8;
/// The form of an `extra` that holds some; the forms without are numbered in [`super::mark`].
const VERSION: u8 = 3;

/// Where reading a content stood that lost its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    pub place: Place,
    pub loss: Loss,
}

/// The place with what is owed beside it, as it is saved.
pub fn with_owed(place: Place, owed: &[Owed]) -> Place {
    if owed.is_empty() {
        return place;
    }
    let mut extra = vec![VERSION];
    push_bytes(&mut extra, place.extra.as_deref().unwrap_or_default());
    owed.iter()
        .take(OWED_MAX)
        .for_each(|owed| push(&mut extra, owed));
    Place {
        extra: Some(extra),
        ..place
    }
}

/// The place as it was, and what was owed beside it.
pub fn without_owed(place: Place) -> (Place, Vec<Owed>) {
    let Some((&VERSION, mut rest)) = place.extra.as_deref().and_then(|extra| extra.split_first())
    else {
        return (place, Vec::new());
    };
    let own = take_bytes(&mut rest).unwrap_or_default().to_vec();
    // What can't be read is as if it weren't there: it isn't looked for any more.
    let owed = std::iter::from_fn(|| take(&mut rest, place.identity));
    let owed = owed.take(OWED_MAX).collect();
    let extra = (!own.is_empty()).then_some(own);
    (Place { extra, ..place }, owed)
}

fn push(into: &mut Vec<u8>, Owed { place, loss }: &Owed) {
    into.push(match loss {
        Loss::CutOff => 0,
        Loss::Gone => 1,
    });
    push_bytes(into, place.path.as_os_str().as_bytes());
    into.extend_from_slice(&place.offset.to_le_bytes());
    into.extend_from_slice(&place.size.to_le_bytes());
    into.extend_from_slice(&place.modified_ms.to_le_bytes());
    into.extend_from_slice(&place.fingerprint.len.to_le_bytes());
    into.extend_from_slice(&place.fingerprint.hash);
    into.extend_from_slice(&place.header_lines_left.to_le_bytes());
    push_bytes(into, place.extra.as_deref().unwrap_or_default());
}

fn take(from: &mut &[u8], identity: FileIdentity) -> Option<Owed> {
    let loss = match take_array(from)? {
        [0] => Loss::CutOff,
        [1] => Loss::Gone,
        _ => return None,
    };
    let path = PathBuf::from(OsString::from_vec(take_bytes(from)?.to_vec()));
    let offset = u64::from_le_bytes(take_array(from)?);
    let size = u64::from_le_bytes(take_array(from)?);
    let modified_ms = i64::from_le_bytes(take_array(from)?);
    let fingerprint = Fingerprint {
        len: u32::from_le_bytes(take_array(from)?),
        hash: take_array(from)?,
    };
    let header_lines_left = u32::from_le_bytes(take_array(from)?);
    let extra = Some(take_bytes(from)?.to_vec()).filter(|extra| !extra.is_empty());
    let place = Place {
        path,
        identity,
        fingerprint,
        offset,
        size,
        modified_ms,
        header_lines_left,
        state: PlaceState::Live,
        extra,
    };
    Some(Owed { place, loss })
}

/// Their number, and the bytes.
fn push_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    into.extend_from_slice(bytes);
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(u64::from_le_bytes(take_array(from)?)).ok()?;
    let (bytes, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(bytes)
}

fn take_array<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDENTITY: FileIdentity = FileIdentity {
        device: 3,
        inode: 8,
    };

    prop_compose! {
        fn places()(
            path: Vec<u8>,
            numbers in any::<(u64, u64, i64, u32, u32)>(),
            hash: [u8; 16],
            // As `Extra` writes it.
            extra in prop::option::of(prop::collection::vec(any::<u8>(), 1..40)),
        ) -> Place {
            let (offset, size, modified_ms, len, header_lines_left) = numbers;
            Place {
                path: OsString::from_vec(path).into(),
                identity: IDENTITY,
                fingerprint: Fingerprint { len, hash },
                offset,
                size,
                modified_ms,
                header_lines_left,
                state: PlaceState::Live,
                extra: extra.map(|mut extra| {
                    extra[0] = 2;
                    extra
                }),
            }
        }
    }

    fn all_owed() -> impl Strategy<Value = Vec<Owed>> {
        let loss = prop::sample::select(&[Loss::CutOff, Loss::Gone][..]);
        let owed = (places(), loss).prop_map(|(place, loss)| Owed { place, loss });
        prop::collection::vec(owed, 0..=OWED_MAX)
    }

    proptest! {
        #[test]
        fn what_is_owed_is_kept(place in places(), owed in all_owed()) {
            let kept = with_owed(place.clone(), &owed);
            prop_assert_eq!(without_owed(kept), (place, owed));
        }

        #[test]
        fn what_is_damaged_is_no_panic(place in places(), owed in all_owed(), at: prop::sample::Index, byte: u8) {
            let mut kept = with_owed(place, &owed);
            if let Some(extra) = kept.extra.as_mut() {
                let at = at.index(extra.len());
                extra[at] = byte;
                extra.truncate(at + usize::from(byte));
            }
            let (_, read) = without_owed(kept);
            prop_assert!(read.len() <= OWED_MAX);
        }
    }
}
