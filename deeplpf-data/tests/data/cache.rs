//! A cached pair has the bits of the decoded files; a cache that is not whole is never used.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::common::icc;
use crate::common::{Source, SplitMix, bytes_of, exif_with_orientation, names, tell};
use deeplpf_data::cache::{CacheError, Origin, PairCache, Stage};
use deeplpf_data::feed::Samples;
use deeplpf_data::{DataError, PairPaths, PairedFolder, sample};
use image::ExtendedColorType;
use rand_core::Rng;

/// A folder of pairs and one for caches.
struct Set {
    scratch: tempfile::TempDir,
    pairs: Vec<PairPaths>,
}

impl Set {
    /// The first `count` pairs of the sample set.
    fn new(count: usize) -> Self {
        let scratch = tempfile::tempdir().expect("temporary folder");
        let root = scratch.path().join("pairs");
        sample::write_to(&root).expect("written");
        let pairs = PairedFolder::open(&root).expect("opens").pairs;
        Self { scratch, pairs: pairs[..count].to_vec() }
    }

    /// A set of the given files, all of 6 x 4 pixels.
    fn of(files: &[(&str, Vec<u8>)]) -> Self {
        let scratch = tempfile::tempdir().expect("temporary folder");
        let root = scratch.path().join("pairs");
        for (name, bytes) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("folder")).expect("made");
            fs::write(path, bytes).expect("written");
        }
        let pairs = PairedFolder::open(&root).expect("opens").pairs;
        Self { scratch, pairs }
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("caches")
    }

    fn cache(&self) -> Result<PairCache, CacheError> {
        PairCache::open_or_make(&self.folder(), &self.pairs, 2, &|_, _, _| {})
    }

    fn made(&self) -> PairCache {
        self.cache().expect("a cache")
    }

    /// The error of making a cache, and that nothing is left of it.
    fn refused(&self) -> String {
        let error = self.cache().expect_err("refused").to_string();
        let left = names(&self.folder());
        assert!(left.iter().all(|name| name.ends_with(".lock")), "{left:?}");
        error
    }

    fn assert_right(&self, cache: &PairCache) {
        assert_eq!(cache.len(), self.pairs.len());
        for (index, paths) in self.pairs.iter().enumerate() {
            assert_eq!(cache.pair(index).to_pair(), paths.load().expect("loads"), "{}", paths.id);
        }
    }
}

/// 6 x 4 samples of `channels`, each different.
fn eight(channels: usize) -> Vec<u8> {
    (0..24 * channels).map(|k| (k * 37 % 256) as u8).collect()
}

fn sixteen(channels: usize) -> Vec<u8> {
    bytes_of(&(0..24 * channels).map(|k| (k * 2_731 % 65_536) as u16).collect::<Vec<_>>())
}

fn png(layout: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
    Source::new(6, 4, layout).png(samples)
}

#[test]
fn a_cached_pair_is_the_decoded_one_and_is_found_again() {
    let set = Set::new(16);
    let cache = set.made();
    assert_eq!(*cache.origin(), Origin::Made);
    set.assert_right(&cache);
    let samples: usize = (0..16).map(|k| 6 * cache.pair(k).height * cache.pair(k).width).sum();
    // A byte a sample, up to 64 bytes of room before each picture, and the index.
    assert!(cache.file_size() < samples + 32 * 64 + 16 * 400, "{}", cache.file_size());
    let view = cache.pair(3);
    assert_eq!(view.id, set.pairs[3].id);
    assert!(matches!(view.input, Samples::Eight(bytes) if bytes == view.input.bytes()));
    let again = set.made();
    assert_eq!(*again.origin(), Origin::Found);
    set.assert_right(&again);
    assert_eq!(names(&set.folder()).len(), 2, "the cache and its lock");
}

/// Depths beside each other, grey, alpha, a profile, a turned photograph: every kind keeps its bits.
#[test]
fn every_kind_of_picture_keeps_its_bits() {
    use ExtendedColorType::{L8, L16, Rgb8, Rgb16, Rgba8};
    let exif = exif_with_orientation(6);
    let turned = Source { exif: Some(&exif), ..Source::new(4, 6, Rgb8) };
    let wide = icc::rgb(&icc::PRO_PHOTO, icc::Curve::Gamma256(461));
    let profiled = Source { icc: Some(&wide), ..Source::new(6, 4, Rgb8) };
    let set = Set::of(&[
        ("input/a-rgb8.png", png(Rgb8, &eight(3))),
        ("target/a-rgb8.png", png(Rgb16, &sixteen(3))),
        ("input/b-grey.png", png(L8, &eight(1))),
        ("target/b-grey.png", png(L16, &sixteen(1))),
        ("input/c-alpha.png", png(Rgba8, &eight(4))),
        ("target/c-alpha.tif", Source::new(6, 4, Rgb16).tiff(&sixteen(3))),
        ("input/d-profile.png", profiled.png(&eight(3))),
        ("target/d-profile.jpg", Source::new(6, 4, Rgb8).jpeg(&eight(3))),
        ("input/e-turned.png", turned.png(&eight(3))),
        ("target/e-turned.webp", Source::new(6, 4, Rgb8).webp(&eight(3))),
    ]);
    let cache = set.made();
    set.assert_right(&cache);
    let depth = |k: usize| (cache.pair(k).input.width(), cache.pair(k).target.width());
    let depths = [0, 1, 2, 3, 4].map(depth);
    assert_eq!(depths, [(1, 2), (1, 2), (1, 2), (4, 1), (1, 1)]);
}

#[test]
fn a_changed_picture_replaces_the_cache() {
    let set = Set::new(3);
    let first = set.made();
    let target = image::open(&set.pairs[1].target).expect("opens").rotate180();
    target.save(&set.pairs[1].target).expect("saved");
    let second = set.made();
    assert!(matches!(second.origin(), Origin::Remade(why) if why.contains("have changed")));
    set.assert_right(&second);
    assert_eq!(first.path(), second.path());
    assert_eq!(names(&set.folder()).len(), 2, "the old one is gone");
    // Who has the old one open still reads the old one, whole.
    assert_ne!(first.pair(1).to_pair(), second.pair(1).to_pair());
}

#[test]
fn other_pairs_have_another_cache() {
    let set = Set::new(4);
    let fewer = Set { pairs: set.pairs[1..].to_vec(), scratch: tempfile::tempdir().expect("x") };
    let all = set.made();
    let some = PairCache::open_or_make(&set.folder(), &fewer.pairs, 0, &|_, _, _| {});
    let some = some.expect("a cache");
    assert_ne!(all.path(), some.path());
    assert_eq!(some.pair(0), all.pair(1));
    // In another order it is another set as well: numbers must mean the same pairs.
    let turned: Vec<PairPaths> = set.pairs.iter().rev().cloned().collect();
    let turned = PairCache::open_or_make(&set.folder(), &turned, 1, &|_, _, _| {}).expect("cache");
    assert_eq!(turned.pair(0), all.pair(3));
}

/// Cut anywhere, or with a bit changed anywhere, a cache is made again.
#[test]
fn a_damaged_cache_is_made_again() {
    let set = Set::new(2);
    let cache = set.made();
    let path = cache.path().to_path_buf();
    drop(cache);
    let whole = fs::read(&path).expect("read");
    let mut damaged: Vec<Vec<u8>> =
        [8, 60, 127, 128, 5_000, whole.len() - 1].iter().map(|&n| whole[..n].to_vec()).collect();
    for at in [8, 12, 16, 48, 56, 80, 100, 128, 7_777, whole.len() - 200, whole.len() - 1] {
        let mut file = whole.clone();
        file[at] ^= 0x10;
        damaged.push(file);
    }
    damaged.push([&whole[..], b"more"].concat());
    for file in damaged {
        fs::write(&path, &file).expect("written");
        let cache = set.made();
        assert!(matches!(cache.origin(), Origin::Remade(_)), "{:?}", cache.origin());
        drop(cache);
        assert_eq!(fs::read(&path).expect("read"), whole, "the same bytes every time");
    }
}

/// Whatever bytes follow the magic: no panic, and never a wrong pair.
#[test]
fn no_file_is_mistaken_for_the_cache() {
    let set = Set::new(1);
    let path = set.made().path().to_path_buf();
    let whole = fs::read(&path).expect("read");
    let mut rng = SplitMix(7);
    for case in 0..60 {
        let mut file = whole.clone();
        for _ in 0..1 + rng.next_u32() % 8 {
            // Header and index, where lengths and places are, get most of it.
            let at = rng.next_u32() as usize % 400;
            let from_the_end = rng.next_u32().is_multiple_of(2);
            let at = if from_the_end { file.len() - 1 - at } else { 8 + at };
            file[at] ^= rng.next_u32() as u8 | 1;
        }
        if case % 3 == 0 {
            file.truncate(file.len() - rng.next_u32() as usize % 4_000);
        }
        fs::write(&path, &file).expect("written");
        let cache = set.made();
        set.assert_right(&cache);
    }
}

#[test]
fn a_file_that_is_no_cache_is_left_alone() {
    let set = Set::new(1);
    let path = set.made().path().to_path_buf();
    for bytes in [&b"my diary"[..], b"", b"DLPFPAI"] {
        fs::write(&path, bytes).expect("written");
        let error = set.cache().expect_err("refused");
        assert!(matches!(error, CacheError::Foreign { .. }), "{error}");
        assert!(error.to_string().ends_with("is none; move it away"), "{error}");
        assert_eq!(fs::read(&path).expect("read"), bytes);
    }
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    let error = set.cache().expect_err("refused").to_string();
    assert!(error.contains(".cache cannot be read: "), "{error}");
}

/// Two at once: one makes it, the other waits for it and finds it.
#[test]
fn two_processes_make_one_cache() {
    let set = Set::new(4);
    let lock = |name: &str| set.folder().join(name);
    let path = set.made().path().to_path_buf();
    fs::remove_file(&path).expect("removed");
    let name = path.with_extension("lock");
    let held = fs::File::create(lock(name.file_name().and_then(|n| n.to_str()).expect("name")));
    let held = held.expect("the lock");
    held.lock().expect("locked");
    let stages = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            PairCache::open_or_make(&set.folder(), &set.pairs, 1, &|stage, _, _| {
                let mut stages = stages.lock().expect("list");
                if stages.last() != Some(&stage) {
                    stages.push(stage);
                }
            })
        });
        while !stages.lock().expect("list").contains(&Stage::Wait) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!path.exists());
        drop(held);
        let cache = waiting.join().expect("no panic").expect("a cache");
        set.assert_right(&cache);
    });
    let stages = stages.into_inner().expect("list");
    assert_eq!(stages, [Stage::Wait, Stage::Decode, Stage::Check]);
}

#[test]
fn a_pair_that_cannot_be_used_is_named_and_nothing_is_left() {
    use ExtendedColorType::Rgb8;
    let good = || png(Rgb8, &eight(3));
    let other = Source::new(4, 6, Rgb8).png(&eight(3));
    let unequal = Set::of(&[
        ("input/a.png", good()),
        ("target/a.png", good()),
        ("input/b.png", good()),
        ("target/b.png", other),
    ]);
    let error = unequal.refused();
    assert!(
        error.contains("b.png is 6x4 but ") && error.contains("is 4x6; export both"),
        "{error}"
    );
    let cut = good()[..60].to_vec();
    let broken = Set::of(&[("input/a.png", good()), ("target/a.png", cut)]);
    assert!(broken.refused().contains("a.png is a truncated PNG picture"));
    let set = Set::new(2);
    fs::remove_file(&set.pairs[1].input).expect("removed");
    let error = set.cache().expect_err("gone").to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_the_remedy() {
    let set = Set::new(1);
    fs::write(set.folder(), b"in the way").expect("written");
    let error = set.cache().expect_err("no folder").to_string();
    assert!(error.contains("caches, cannot be used: ") && error.contains("data.cache"), "{error}");
}

/// A disk of 200 KB, where the machine lets us mount one: as root on Linux.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing() {
    let set = Set::new(16);
    fs::create_dir(set.folder()).expect("made");
    let disk = Mount::of(&set.folder(), "200k");
    let Some(disk) = disk else {
        return tell("SKIPPED a_full_disk_leaves_nothing: no right to mount a small disk here");
    };
    let error = set.cache().expect_err("full");
    assert!(
        matches!(&error, CacheError::Data(e) if matches!(**e, DataError::DiskFull { .. })),
        "{error}"
    );
    assert!(set.refused().contains("the disk is full; free some space"));
    drop(disk);
    set.assert_right(&set.made());
}

/// A small disk, unmounted when dropped.
#[cfg(target_os = "linux")]
struct Mount(PathBuf);

#[cfg(target_os = "linux")]
impl Mount {
    fn of(folder: &Path, size: &str) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder);
        let done = mount.stderr(std::process::Stdio::null()).status().ok()?;
        done.success().then(|| Self(folder.to_path_buf()))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mount {
    fn drop(&mut self) {
        let done = std::process::Command::new("umount").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}
