//! What runs left, copied to a folder that never grows past a cap.
//!
//! Files are taken in a stated order: what is small and says most first, logs of nodes last. One that does not fit
//! into what is left is dropped whole, and said to be: a history that was cut off in silence would pass for one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Found, runs};

/// The list of what is in a bundle and what is not.
const LIST: &str = "bundle.txt";
/// Room that is kept for that list.
const LIST_ROOM: u64 = 64 * 1024;
/// Longer lists name so many files of a kind, and count the others.
const LISTED: usize = 200;

/// Flags of `bundle`.
#[derive(Debug, Clone, Args)]
pub struct BundleArgs {
    /// Folders of runs, or stores
    #[arg(default_value = "store/latest", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Most that it may hold, as 500kB, 25MB, 1GB
    #[arg(long, default_value = "25MB", value_parser = size, value_name = "SIZE")]
    pub cap: u64,
}

/// The order in which files are taken, of all runs those of one kind before the next kind.
const KINDS: [Kind; 4] = [
    Kind {
        what: "results and settings",
        names: &[
            "results.json",
            "summary.md",
            "junit.xml",
            "test.toml",
            "plan.json",
        ],
        packed: false,
    },
    Kind {
        what: "reports",
        names: &["report.html", "over-time.svg"],
        packed: false,
    },
    Kind {
        what: "histories",
        names: &["history.jsonl"],
        packed: true,
    },
    Kind {
        what: "logs of nodes",
        names: &[],
        packed: true,
    },
];

struct Kind {
    what: &'static str,
    /// Its files in the folder of a run; none for the logs in the folders of its nodes.
    names: &'static [&'static str],
    /// Whether it is packed (gzip, which the checker reads as it is).
    packed: bool,
}

/// What became of the files.
#[derive(Debug, Default)]
struct Tally {
    kept: Vec<(String, u64)>,
    dropped: Vec<(String, u64)>,
}

/// Copies what runs left, the worst run first, and says what had to stay behind.
///
/// # Errors
/// When there is no run, the folder is there already and not empty, or the disk refuses.
pub fn bundle(args: &BundleArgs) -> Result<()> {
    let runs = runs(&args.paths)?;
    let out = &args.out;
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is not empty: name a new folder with --out, or remove that one",
            out.display()
        );
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut left = args.cap.saturating_sub(LIST_ROOM);
    let mut tally = Tally::default();
    for kind in &KINDS {
        for run in &runs {
            for file in kind.files(run)? {
                let mut name = place(run, &file)?;
                if kind.packed {
                    name.push_str(".gz");
                }
                match copy(&file, &out.join(&name), kind.packed, left)? {
                    Some(size) => {
                        left -= size;
                        tally.kept.push((name, size));
                    }
                    None => {
                        let size = fs::metadata(&file)
                            .with_context(|| format!("{}", file.display()))?
                            .len();
                        tally.dropped.push((name, size));
                    }
                }
            }
        }
    }
    let text = tally.text(args.cap);
    fs::write(out.join(LIST), &text).with_context(|| format!("cannot write {}", out.join(LIST).display()))?;
    nemesis::say!("{}", text.lines().next().unwrap_or_default());
    nemesis::say!("in {}", out.display());
    for (name, size) in tally.dropped.iter().take(LISTED) {
        nemesis::say!("dropped, too large for what was left: {name} ({})", human(*size));
    }
    Ok(())
}

impl Kind {
    /// Its files of one run, in a fixed order. Only plain files: a store under test may leave anything.
    fn files(&self, run: &Found) -> Result<Vec<PathBuf>> {
        if !self.names.is_empty() {
            let paths = self.names.iter().map(|name| run.path.join(name));
            return Ok(paths.filter(|path| is_plain(path)).collect());
        }
        let mut logs = Vec::new();
        let listed =
            |path: &Path| fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()));
        for node in listed(&run.path)? {
            let node = node.with_context(|| format!("cannot list {}", run.path.display()))?;
            if !node.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            // A folder that is not ours to read has nothing for us.
            for file in listed(&node.path()).into_iter().flatten().flatten() {
                let path = file.path();
                if path.extension().is_some_and(|extension| extension == "log") && is_plain(&path) {
                    logs.push(path);
                }
            }
        }
        logs.sort();
        Ok(logs)
    }
}

impl Tally {
    fn text(&self, cap: u64) -> String {
        let sum: u64 = self.kept.iter().map(|(_, size)| size).sum();
        let mut text = format!(
            "bundle: {} files, {} of at most {}, {} dropped\n\nTaken in this order, of all runs (the worst first) one kind after the other: {}.\n",
            self.kept.len(),
            human(sum),
            human(cap),
            self.dropped.len(),
            KINDS.map(|kind| kind.what).join(", "),
        );
        for (title, files) in [
            ("kept", &self.kept),
            ("dropped (size before packing)", &self.dropped),
        ] {
            text.push_str(&format!("\n{title}:\n"));
            for (name, size) in files.iter().take(LISTED) {
                text.push_str(&format!("  {:>10}  {name}\n", human(*size)));
            }
            if files.len() > LISTED {
                text.push_str(&format!("  and {} more\n", files.len() - LISTED));
            }
        }
        text
    }
}

/// Where a file of a run stands in a bundle: `<test>/<start>/...`, as in a store.
fn place(run: &Found, file: &Path) -> Result<String> {
    let store = run.path.ancestors().nth(2).unwrap_or(Path::new("/"));
    let place = file
        .strip_prefix(store)
        .with_context(|| format!("{} is not in {}", file.display(), store.display()))?;
    Ok(place.display().to_string())
}

fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

/// Copies a file, packed or as it is, if that takes at most `room` bytes; returns how many.
fn copy(from: &Path, to: &Path, packed: bool, room: u64) -> Result<Option<u64>> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(failed)?;
    let mut source = File::open(from).with_context(failed)?;
    let mut sink = Capped {
        file: File::create_new(to).with_context(failed)?,
        written: 0,
        room,
    };
    let copied = if packed {
        let mut packer = GzEncoder::new(&mut sink, Compression::default());
        io::copy(&mut source, &mut packer).and_then(|_| packer.try_finish())
    } else {
        io::copy(&mut source, &mut sink).map(drop)
    };
    match copied {
        Ok(()) => Ok(Some(sink.written)),
        Err(error) if error.kind() == ErrorKind::QuotaExceeded => {
            fs::remove_file(to).with_context(failed)?;
            // Only where it is empty, which is when nothing else of the run was kept.
            let _ = fs::remove_dir(folder);
            Ok(None)
        }
        Err(error) => Err(error).with_context(failed),
    }
}

/// A file that refuses to grow past its room.
struct Capped {
    file: File,
    written: u64,
    room: u64,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written + bytes.len() as u64 > self.room {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// `500kB`, `25MB`, `1GB`, or plain bytes.
fn size(text: &str) -> Result<u64, String> {
    let wanted = || "write it as 500kB, 25MB or 1GB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wanted())?;
    let unit = match &text[digits..] {
        "" | "B" => 1,
        "kB" | "KB" | "k" => 1000,
        "MB" | "M" => 1_000_000,
        "GB" | "G" => 1_000_000_000,
        _ => return Err(wanted()),
    };
    match number.checked_mul(unit) {
        Some(bytes) if bytes >= 2 * LIST_ROOM => Ok(bytes),
        Some(_) => Err(format!("less than {} holds nothing", human(2 * LIST_ROOM))),
        None => Err(wanted()),
    }
}

fn human(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const RESULTS: &str = r#"{"valid": VALID, "sentence": "s", "test": "t", "again": "", "doubts": [],
        "anomalies": [], "analysis": {}}"#;

    /// Bytes that do not pack.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn run(store: &Path, name: &str, valid: &str) -> PathBuf {
        let run = store.join("t").join(name);
        fs::create_dir_all(run.join("n1")).expect("made");
        for (file, bytes) in [
            ("test.toml", b"system = \"kvnode\"".to_vec()),
            ("results.json", RESULTS.replace("VALID", valid).into_bytes()),
            ("report.html", noise(100_000)),
            ("history.jsonl", vec![b'x'; 3_000_000]),
            ("n1/node.log", noise(100_000)),
            ("n1/data", noise(10)),
        ] {
            fs::write(run.join(file), bytes).expect("written");
        }
        run
    }

    fn bundled(store: &Path, out: &Path, cap: &str) -> Vec<String> {
        let args = BundleArgs {
            paths: vec![store.to_owned()],
            out: out.to_owned(),
            cap: size(cap).expect("a size"),
        };
        bundle(&args).expect("bundled");
        let mut names = Vec::new();
        let mut folders = vec![out.to_owned()];
        let mut sum = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("listed") {
                let entry = entry.expect("an entry");
                if entry.file_type().expect("a type").is_dir() {
                    folders.push(entry.path());
                } else {
                    sum += entry.metadata().expect("its size").len();
                    let path = entry.path();
                    let name = path.strip_prefix(out).expect("inside");
                    names.push(name.display().to_string());
                }
            }
        }
        assert!(sum <= args.cap, "{sum} bytes: {names:?}");
        names.sort();
        names
    }

    #[test]
    fn everything_fits_or_is_said_to_be_dropped_from_the_end_of_the_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        run(&store, "1", "true");
        let illegal = run(&store, "2", "false");
        std::os::unix::fs::symlink(&illegal, store.join("latest")).expect("linked");
        let all = bundled(&store, &folder.path().join("all"), "25MB");
        let wanted = [
            "results.json",
            "test.toml",
            "report.html",
            "history.jsonl.gz",
            "n1/node.log.gz",
        ];
        let mut expected: Vec<String> = ["1", "2"]
            .iter()
            .flat_map(|run| wanted.iter().map(move |name| format!("t/{run}/{name}")))
            .chain([LIST.to_owned()])
            .collect();
        expected.sort();
        assert_eq!(all, expected);

        let mut history = String::new();
        let packed = File::open(folder.path().join("all/t/2/history.jsonl.gz")).expect("opened");
        flate2::read::GzDecoder::new(packed)
            .read_to_string(&mut history)
            .expect("unpacked");
        assert_eq!(history.len(), 3_000_000);

        // Both reports fit, and the log of the illegal run, but not that of the other one.
        let out = folder.path().join("some");
        let some = bundled(&store, &out, "400kB");
        expected.retain(|name| name != "t/1/n1/node.log.gz");
        assert_eq!(some, expected);
        let list = fs::read_to_string(out.join(LIST)).expect("read");
        let (kept, dropped) = list.split_once("dropped (").expect("both parts");
        assert!(
            kept.contains("t/2/n1/node.log.gz") && dropped.contains("100.0 kB  t/1/n1/node.log.gz"),
            "{list}"
        );

        // Of two reports the one of the illegal run is kept; smaller things after it still fit.
        let few = bundled(&store, &folder.path().join("few"), "180kB");
        assert!(
            few.contains(&"t/2/report.html".to_owned()) && !few.contains(&"t/1/report.html".to_owned()),
            "{few:?}"
        );
        assert!(few.contains(&"t/1/history.jsonl.gz".to_owned()), "{few:?}");
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = run(folder.path(), "1", "true");
        let args = BundleArgs {
            paths: vec![run.clone()],
            out: run,
            cap: 1_000_000,
        };
        let error = bundle(&args).expect_err("refused").to_string();
        assert!(error.contains("is not empty"), "{error}");
        let nowhere = BundleArgs {
            paths: vec![folder.path().join("nowhere")],
            ..args
        };
        let error = bundle(&nowhere).expect_err("refused").to_string();
        assert!(error.contains("no run is there"), "{error}");
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        let cases = [
            ("25MB", 25_000_000),
            ("500kB", 500_000),
            ("1GB", 1_000_000_000),
            ("200000", 200_000),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MB",
            "0",
            "-1MB",
            "1 parsec",
            "99999999999999999999",
            "99999999999GB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
