//! The rest of a file that was compressed after it was rotated: its gzip, read as if it were the plain file.
//!
//! [`WithGzip`] is a [`Disk`] around another one: what its `open` finds under a name that ends in `.gz` reads, and has the
//! offsets and the size, of what was compressed. Nothing is written anywhere; a window of the newest bytes is held, so
//! that reading forward decompresses each byte once.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::path::Path;

use flate2::write::MultiGzDecoder;

use super::cursor::FINGERPRINT_BYTES;
use super::disk::{Disk, FileStat, Name};

/// What is read of the compressed file at once: little, as it may be a thousand times as much afterwards.
const INPUT_BYTES: usize = 4 * 1024;
/// Decompressed bytes that are held: more than the longest record, of which a turn may leave a part to the next one.
const WINDOW_BYTES: usize = 6 * 1024 * 1024;

/// Whether a file of this name is read as a gzip.
pub fn is_gzip(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("gz")
}

/// An open file of a [`WithGzip`].
#[derive(Debug)]
pub enum Body<F> {
    Plain(F),
    Gzip(Box<RefCell<Gunzip<F>>>),
}

impl<F> Body<F> {
    /// The file itself, where it is no gzip.
    pub fn plain(&self) -> Option<&F> {
        match self {
            Body::Plain(file) => Some(file),
            Body::Gzip(_) => None,
        }
    }

    /// Whether its size is an estimate until its end was read.
    pub fn is_gzip(&self) -> bool {
        matches!(self, Body::Gzip(_))
    }
}

/// A disk whose gzips read as what they hold.
#[derive(Debug)]
pub struct WithGzip<'d, D>(pub &'d mut D);

impl<D: Disk> Disk for WithGzip<'_, D> {
    type File = Body<D::File>;

    fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
        self.0.names(folder)
    }

    fn look(&mut self, path: &Path) -> io::Result<FileStat> {
        self.0.look(path)
    }

    fn open(&mut self, path: &Path) -> io::Result<Body<D::File>> {
        let file = self.0.open(path)?;
        match is_gzip(path) {
            true => {
                let gunzip = Gunzip::new(self.0, file)?;
                Ok(Body::Gzip(Box::new(RefCell::new(gunzip))))
            }
            false => Ok(Body::Plain(file)),
        }
    }

    fn share(&mut self, file: &Body<D::File>) -> io::Result<Body<D::File>> {
        match file {
            Body::Plain(file) => self.0.share(file).map(Body::Plain),
            Body::Gzip(gunzip) => {
                let file = self.0.share(&gunzip.borrow().file)?;
                let gunzip = Gunzip::new(self.0, file)?;
                Ok(Body::Gzip(Box::new(RefCell::new(gunzip))))
            }
        }
    }

    fn look_at(&mut self, file: &Body<D::File>) -> io::Result<FileStat> {
        match file {
            Body::Plain(file) => self.0.look_at(file),
            Body::Gzip(gunzip) => gunzip.borrow_mut().look(self.0),
        }
    }

    fn is_link(&mut self, path: &Path) -> bool {
        self.0.is_link(path)
    }

    fn tells_of(&mut self, path: &Path) -> bool {
        self.0.tells_of(path)
    }

    fn read_at(&mut self, file: &Body<D::File>, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match file {
            Body::Plain(file) => self.0.read_at(file, offset, into),
            Body::Gzip(gunzip) => gunzip.borrow_mut().read_at(self.0, offset, into),
        }
    }

    fn clock_ms(&mut self) -> i64 {
        self.0.clock_ms()
    }

    fn n_handles_wanted(&mut self) -> usize {
        self.0.n_handles_wanted()
    }
}

/// A gzip, and how far it was decompressed.
#[derive(Debug)]
pub struct Gunzip<F> {
    file: F,
    decoder: MultiGzDecoder<Vec<u8>>,
    /// First compressed byte that wasn't decompressed.
    input_at: u64,
    /// The newest bytes; they begin at the offset `window_start` of the content.
    window: Vec<u8>,
    window_start: u64,
    /// The content's beginning, which is compared again and again.
    head: Vec<u8>,
    /// The size that the last bytes tell: of the last part alone, and modulo 2³².
    size_told: u64,
    /// The content's size, once its end was read.
    total: Option<u64>,
    /// Size and modification time of a file that ended in its midst, or isn't what it seemed.
    broken: Option<(u64, i64)>,
}

impl<F> Gunzip<F> {
    fn new<D: Disk<File = F>>(disk: &mut D, file: F) -> io::Result<Gunzip<F>> {
        let size_told = size_told(disk, &file)?;
        Ok(Gunzip {
            file,
            decoder: MultiGzDecoder::new(Vec::new()),
            input_at: 0,
            window: Vec::new(),
            window_start: 0,
            head: Vec::new(),
            size_told,
            total: None,
            broken: None,
        })
    }

    fn decoded_end(&self) -> u64 {
        self.window_start + self.window.len() as u64
    }

    /// A look, with the size that the content has as far as is known: one byte more than was seen of it, at least, until
    /// its end was.
    fn look<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<FileStat> {
        let stat = disk.look_at(&self.file)?;
        let least = self.size_told.max(self.decoded_end() + 1);
        Ok(FileStat {
            size: self.total.unwrap_or(least),
            ..stat
        })
    }

    /// Begins anew.
    fn rewind<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        self.size_told = size_told(disk, &self.file)?;
        self.decoder = MultiGzDecoder::new(Vec::new());
        (self.input_at, self.window_start) = (0, 0);
        self.window.clear();
        self.head.clear();
        (self.total, self.broken) = (None, None);
        Ok(())
    }

    fn read_at<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        offset: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let end = offset.saturating_add(into.len() as u64);
        if end <= self.head.len() as u64 {
            into.copy_from_slice(&self.head[offset as usize..end as usize]);
            return Ok(into.len());
        }
        if offset < self.window_start || self.is_mended(disk)? {
            self.rewind(disk)?;
        }
        while self.decoded_end() < end && self.total.is_none() {
            self.decode_more(disk)?;
            self.trim(offset);
        }
        let at = offset.saturating_sub(self.window_start) as usize;
        let rest = self.window.get(at..).unwrap_or_default();
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    /// Whether it was broken and has changed since.
    fn is_mended<D: Disk<File = F>>(&self, disk: &mut D) -> io::Result<bool> {
        let Some(seen) = self.broken else {
            return Ok(false);
        };
        let stat = disk.look_at(&self.file)?;
        Ok(seen != (stat.size, stat.modified_ms))
    }

    fn decode_more<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        if self.broken.is_some() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut input = [0; INPUT_BYTES];
        let n = disk.read_at(&self.file, self.input_at, &mut input)?;
        let decoded = match n {
            0 => self.decoder.try_finish(),
            n => self.decoder.write_all(&input[..n]),
        };
        self.input_at += n as u64;
        self.window.append(self.decoder.get_mut());
        let head_missing = FINGERPRINT_BYTES as usize - self.head.len();
        if self.window_start <= self.head.len() as u64 && head_missing > 0 {
            let at = self.head.len() - self.window_start as usize;
            let more = self.window.get(at..).unwrap_or_default();
            self.head
                .extend_from_slice(&more[..more.len().min(head_missing)]);
        }
        match decoded {
            Ok(()) if n == 0 => self.total = Some(self.decoded_end()),
            Ok(()) => {}
            Err(error) => {
                let stat = disk.look_at(&self.file)?;
                self.broken = Some((stat.size, stat.modified_ms));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Lets go of what stands far enough before `offset`.
    fn trim(&mut self, offset: u64) {
        let keep_from = offset.saturating_sub(WINDOW_BYTES as u64);
        let n_old = keep_from
            .min(self.decoded_end())
            .saturating_sub(self.window_start) as usize;
        // Seldom and much at once: what stays is moved.
        if n_old >= WINDOW_BYTES / 2 {
            self.window.drain(..n_old);
            self.window_start += n_old as u64;
        }
    }
}

/// What the last four bytes of a gzip say.
fn size_told<D: Disk>(disk: &mut D, file: &D::File) -> io::Result<u64> {
    let stat = disk.look_at(file)?;
    let mut size = [0; 4];
    let n = disk.read_at(file, stat.size.saturating_sub(4), &mut size)?;
    Ok(if n == 4 {
        u64::from(u32::from_le_bytes(size))
    } else {
        0
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::tail::testing::MemoryDisk;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn lines(n: usize) -> Vec<u8> {
        (0..n)
            .flat_map(|n| format!("line {n} {}\n", n * n % 7919).into_bytes())
            .collect()
    }

    fn size_of(
        disk: &mut WithGzip<'_, MemoryDisk>,
        file: &Body<<MemoryDisk as Disk>::File>,
    ) -> u64 {
        disk.look_at(file).unwrap().size
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn reads_what_was_compressed_at_any_offset(
            n in 0..9000usize,
            cut: prop::sample::Index,
            reads in prop::collection::vec((any::<prop::sample::Index>(), 1..70_000usize), 1..8),
        ) {
            let text = lines(n);
            // A file may be several gzips one behind the other.
            let (a, b) = text.split_at(cut.index(text.len() + 1));
            let mut memory = MemoryDisk::default();
            memory.append("/a.gz", &[gzip(a), gzip(b)].concat());
            let mut disk = WithGzip(&mut memory);
            let file = disk.open(Path::new("/a.gz")).unwrap();
            for (offset, len) in reads {
                let offset = offset.index(text.len() + 1);
                let mut into = vec![0; len];
                let n = disk.read_at(&file, offset as u64, &mut into).unwrap();
                let expected = &text[offset..text.len().min(offset + len)];
                prop_assert_eq!(&into[..n], expected);
                let size = size_of(&mut disk, &file);
                prop_assert!(size >= (offset + n) as u64);
            }
            let n = disk.read_at(&file, text.len() as u64, &mut [0; 9]).unwrap();
            prop_assert_eq!(n, 0);
            prop_assert_eq!(size_of(&mut disk, &file), text.len() as u64);
        }
    }

    #[test]
    fn one_that_is_being_written_is_read_once_it_is_whole() {
        let text = lines(5000);
        let packed = gzip(&text);
        let mut memory = MemoryDisk::default();
        memory.append("/a.gz", &packed[..packed.len() / 2]);
        let mut into = vec![0; text.len() + 1];
        let file = WithGzip(&mut memory).open(Path::new("/a.gz")).unwrap();
        for _ in 0..2 {
            WithGzip(&mut memory)
                .read_at(&file, 0, &mut into)
                .unwrap_err();
        }
        memory.append("/a.gz", &packed[packed.len() / 2..]);
        let mut disk = WithGzip(&mut memory);
        assert_eq!(disk.read_at(&file, 0, &mut into).unwrap(), text.len());
        assert_eq!(into[..text.len()], text);
    }

    #[test]
    fn its_window_stays_small_and_goes_forward_only() {
        let text = lines(1_000_000);
        assert!(text.len() > 2 * WINDOW_BYTES);
        let mut memory = MemoryDisk::default();
        memory.append("/a.gz", &gzip(&text));
        let mut disk = WithGzip(&mut memory);
        let file = disk.open(Path::new("/a.gz")).unwrap();
        let mut into = vec![0; 64 * 1024];
        for offset in (0..text.len()).step_by(into.len()) {
            let n = disk.read_at(&file, offset as u64, &mut into).unwrap();
            assert_eq!(into[..n], text[offset..offset + n]);
            let Body::Gzip(gunzip) = &file else { panic!() };
            assert!(gunzip.borrow().window.len() < 2 * WINDOW_BYTES + INPUT_BYTES * 1024);
        }
    }

    #[test]
    fn what_is_no_gzip_is_an_error_and_no_panic() {
        let mut memory = MemoryDisk::default();
        memory.append("/a.gz", b"not compressed at all\n");
        memory.append("/b.gz", b"");
        let mut disk = WithGzip(&mut memory);
        let file = disk.open(Path::new("/a.gz")).unwrap();
        disk.read_at(&file, 0, &mut [0; 9]).unwrap_err();
        let file = disk.open(Path::new("/b.gz")).unwrap();
        assert_eq!(disk.read_at(&file, 0, &mut [0; 9]).unwrap_or(0), 0);
    }
}
