//! Answers of a model whose scores are computed by hand, and a count of allocations.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, unsafe_code, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::tests::{hipflask_run, write_rows_model};

struct Counting;

thread_local! {
    /// Allocations of this thread: other tests run beside.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, that is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A folder with the model and, below it, three images and a file that is none.
fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("rows.safetensors");
    write_rows_model(&model);
    std::fs::create_dir_all(folder.path().join("images/more")).unwrap();
    for (name, bytes) in [
        ("b.raw", &b"\xff\xff\0\0"[..]),
        ("more/a.pgm", b"P5 2 2 255\n\0\0\xff\xff"),
        ("a.PGM", b"P5 2 2 255\n\0\0\xff\0"),
        ("notes.txt", b"no image"),
        (".hidden.raw", b"\0\0\0\0"),
    ] {
        std::fs::write(folder.path().join("images").join(name), bytes).unwrap();
    }
    let model = model.display().to_string();
    (folder, model)
}

#[test]
fn a_folder_is_its_images_by_name_and_standard_input_a_file() {
    let (folder, model) = folder();
    let images = folder.path().join("images").display().to_string();
    let found = hipflask_run(&["predict", &model, &images, "-", "--top", "2"], b"\0\xff\0\0");
    let expected = format!(
        "{images}/a.PGM:  1 lower (1.000)  0 upper (0.000)\n\
         {images}/b.raw:  0 upper (2.000)  1 lower (0.000)\n\
         {images}/more/a.pgm:  1 lower (2.000)  0 upper (0.000)\n\
         -:  0 upper (1.000)  1 lower (0.000)\n"
    );
    assert_eq!(found.unwrap(), expected);
    let found = hipflask_run(&["predict", &model, "-", "--json", "--top", "9"], b"\0\0\0\xff");
    let expected = "{\"file\":\"-\",\"top\":[{\"index\":1,\"label\":\"lower\",\"score\":1.0},\
                    {\"index\":0,\"label\":\"upper\",\"score\":0.0},\
                    {\"index\":2,\"label\":\"none\",\"score\":0.0},\
                    {\"index\":3,\"label\":\"class 3\",\"score\":-1.0}]}\n";
    assert_eq!(found.unwrap(), expected);
}

#[test]
fn what_cannot_be_read_is_named() {
    let (folder, model) = folder();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.display().to_string();
    let error = hipflask_run(&["predict", &model, &empty], b"").unwrap_err();
    assert!(error.starts_with(&format!("{empty}: no file of images is in this folder")), "{error}");
    let error = hipflask_run(&["predict", &model, "-"], b"12345").unwrap_err();
    assert!(error.starts_with("-: image: 5 bytes of pixels, the model takes 4"), "{error}");
    let gone = folder.path().join("gone.pgm").display().to_string();
    for words in [&["predict", &model, &gone][..], &["predict", &model, &gone, "--stream"]] {
        let error = hipflask_run(words, b"").unwrap_err();
        assert!(error.starts_with(&format!("{gone}: cannot be read")), "{error}");
    }
    let error = hipflask_run(&["predict", &model, "-", "--top", "0"], b"1234").unwrap_err();
    assert!(error.starts_with("--top 0"), "{error}");
}

#[test]
fn each_frame_of_a_stream_is_answered_until_it_is_cut_short() {
    let (folder, model) = folder();
    let frames = b"\xff\xff\0\0\0\0\xff\xffP5";
    let words = ["predict", &model, "--stream", "--top", "1"];
    assert_eq!(
        hipflask_run(&words, &frames[..8]).unwrap(),
        "-:0:  0 upper (2.000)\n-:1:  1 lower (2.000)\n"
    );
    let file = folder.path().join("frames");
    std::fs::write(&file, frames).unwrap();
    let file = file.display().to_string();
    let error = hipflask_run(&["predict", &model, &file, "--stream"], b"").unwrap_err();
    assert_eq!(error, format!("{file}: frame 2: ends after 2 of 4 bytes: 2 are missing"));
    let error = hipflask_run(&["predict", &model, "--stream", "--hop", "9"], frames).unwrap_err();
    assert!(error.contains("reads images: a hop is for sounds"), "{error}");
}

/// Notes how many allocations there were at each line that it is given.
struct Noting {
    counts: Vec<usize>,
    flushed: usize,
}

impl Write for Noting {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        assert!(line.ends_with(b"\n"), "a line at a time");
        self.counts.push(ALLOCATIONS.with(Cell::get));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.flushed += 1;
        Ok(())
    }
}

#[test]
fn frames_after_the_first_allocate_nothing_and_are_flushed() {
    let (_folder, model) = folder();
    for json in [true, false] {
        let flags =
            crate::Flags { json, profile: false, stream: true, threads: 1, top: 3, hop: None };
        let mut out = Noting { counts: Vec::with_capacity(100), flushed: 0 };
        let frames: Vec<u8> = (0..400).map(|i| i as u8).collect();
        super::stream(&model, "-", flags, &mut &frames[..], &mut out).unwrap();
        assert_eq!((out.counts.len(), out.flushed), (100, 100));
        assert_eq!(out.counts[99] - out.counts[0], 0, "json: {json}");
        assert!(out.counts[0] > 0, "the counter counts");
    }
}

/// As when `head` has read enough.
struct Closed(PathBuf);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        assert!(std::fs::remove_file(&self.0).is_ok(), "written to once");
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_ends_when_nobody_reads() {
    let (folder, model) = folder();
    let once = folder.path().join("once");
    std::fs::write(&once, b"").unwrap();
    let flags =
        crate::Flags { json: false, profile: false, stream: true, threads: 1, top: 3, hop: None };
    let mut endless = std::io::BufReader::new(std::io::repeat(7));
    assert!(super::stream(&model, "-", flags, &mut endless, &mut Closed(once)).is_ok());
}
