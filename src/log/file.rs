//! Records from files: lines of a plain or gzip file, or of standard input.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    rc::Rc,
};

use flate2::bufread::MultiGzDecoder;
use memchr::memchr;

/// The path that stands for standard input.
pub const STDIN: &str = "-";

const BUFFER_BYTES: usize = 1 << 18;

/// A file could not be read (on).
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {file}: {error}")]
    Start { file: String, error: io::Error },
    #[error("cannot read {file} after line {line}: {error}")]
    Midway { file: String, line: u64, error: io::Error },
}

/// One line that is not blank.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Line<'a> {
    /// Counted from 1, blank lines included.
    pub number: u64,
    /// Without its end. Of an overlong line only the beginning, a little longer than allowed.
    pub bytes: &'a [u8],
}

/// Reads lines one by one.
pub struct Lines {
    file: String,
    reader: Box<dyn BufRead>,
    number: u64,
    line: Vec<u8>,
    longest: usize,
    read: Rc<Cell<u64>>,
}

impl Lines {
    /// Opens a file, or standard input for [`STDIN`]. Gzip is recognised by its first bytes.
    /// A line of more than `longest` bytes is cut, so that memory stays bounded.
    pub fn open(file: &str, longest: usize) -> Result<Self, FileError> {
        let failed = |error| FileError::Start { file: file.to_owned(), error };
        if file == STDIN {
            return Self::from_reader(file, io::stdin(), longest).map_err(failed);
        }
        let opened = File::open(file).map_err(failed)?;
        Self::from_reader(file, opened, longest).map_err(failed)
    }

    fn from_reader(file: &str, source: impl Read + 'static, longest: usize) -> io::Result<Self> {
        let read = Rc::new(Cell::new(0));
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, Metered { source, read: read.clone() });
        let reader: Box<dyn BufRead> = if raw.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        Ok(Self { file: file.to_owned(), reader, number: 0, line: Vec::new(), longest, read })
    }

    /// Bytes of the file (compressed ones, if it is gzip) that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// The next line that is not blank, or nothing at the end.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, FileError> {
        loop {
            let more = self.read_line();
            let more = more.map_err(|error| FileError::Midway { file: self.file.clone(), line: self.number, error })?;
            if !more {
                return Ok(None);
            }
            self.number += 1;
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(Line { number: self.number, bytes: &self.line }));
            }
        }
    }

    /// Reads a line into the buffer; false at the end.
    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut started = false;
        loop {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                return Ok(started);
            }
            started = true;
            let end = memchr(b'\n', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            // One byte too many says that the line was too long.
            let room = (self.longest + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = end.map_or(chunk.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

/// Counts what passes.
struct Metered<R> {
    source: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.read.set(self.read.get() + len as u64);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn lines(bytes: Vec<u8>) -> Result<Vec<(u64, String)>, FileError> {
        let mut lines = Lines::from_reader("test", io::Cursor::new(bytes), 8).unwrap();
        let mut read = Vec::new();
        while let Some(line) = lines.next_line()? {
            read.push((line.number, String::from_utf8_lossy(line.bytes).into_owned()));
        }
        Ok(read)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_passed_over() {
        let expected = [(1, "a\r".to_owned()), (4, "b".to_owned())];
        assert_eq!(lines(b"a\r\n\n  \nb".to_vec()).unwrap(), expected);
        assert_eq!(lines(b"a\r\n\n  \nb\n".to_vec()).unwrap(), expected);
        assert_eq!(lines(gzip("a\r\n\n  \nb\n")).unwrap(), expected);
        assert_eq!(lines(vec![]).unwrap(), []);
    }

    #[test]
    fn gzip_files_may_be_joined() {
        let joined = [gzip("a\nb"), gzip("c\nd\n")].concat();
        let expected = [(1, "a".to_owned()), (2, "bc".to_owned()), (3, "d".to_owned())];
        assert_eq!(lines(joined).unwrap(), expected);
    }

    #[test]
    fn an_overlong_line_is_cut_and_the_next_one_is_whole() {
        let text = format!("12345678\n{}\nc", "x".repeat(BUFFER_BYTES * 2));
        let expected = [(1, "12345678".to_owned()), (2, "x".repeat(9)), (3, "c".to_owned())];
        assert_eq!(lines(text.into_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_broken_file_says_after_which_line() {
        let mut cut = gzip("a\nb\nc\n");
        cut.truncate(cut.len() - 4);
        let error = lines(cut).unwrap_err().to_string();
        assert!(error.starts_with("cannot read test after line "), "{error}");
        let missing = Lines::open("/does/not/exist", 8).err().unwrap().to_string();
        assert!(missing.starts_with("cannot read /does/not/exist: "), "{missing}");
    }
}
