use apolo_chaos::powerloss::{
    Faults, FsyncError, Loss, NameRule, Sector, Volume, VolumeOptions, available,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use tokio::time::Instant;

/// Whether no volume can be mounted here, with a printed note.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
pub(crate) fn skipped() -> bool {
    available().inspect_err(|reason| eprintln!("skipped: {reason}")).is_err()
}

/// A volume, or `None` where none can be mounted.
fn volume() -> Option<Volume> {
    volume_with(VolumeOptions::default())
}

fn volume_with(options: VolumeOptions) -> Option<Volume> {
    (!skipped()).then(|| Volume::mount(options).unwrap())
}

fn sync_directory(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

#[test]
fn synced_bytes_under_a_synced_name_survive_and_nothing_else_does() {
    let Some(volume) = volume() else { return };
    let path = volume.path().join("file");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"kept").unwrap();
    file.sync_data().unwrap();
    sync_directory(volume.path());
    file.write_all(b" lost").unwrap();
    File::create(volume.path().join("unsynced name")).unwrap().sync_all().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"kept lost");

    volume.power_cut(Loss::Everything);
    let while_off = fs::read(&path).unwrap_err();
    volume.restore();

    assert_eq!(while_off.raw_os_error(), Some(5));
    assert_eq!(fs::read(&path).unwrap(), b"kept");
    assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 1);
    assert!(file.write_all(b"a descriptor from before").is_err());
    let stats = volume.stats();
    assert_eq!((stats.cuts, stats.lost_bytes, stats.lost_names), (1, 5, 1));
}

#[test]
fn names_survive_any_sync_under_the_gentle_rule() {
    let Some(volume) =
        volume_with(VolumeOptions { name_rule: NameRule::AnySync, ..VolumeOptions::default() })
    else {
        return;
    };
    File::create(volume.path().join("file")).unwrap().sync_all().unwrap();

    volume.power_cut(Loss::Everything);
    volume.restore();

    assert!(volume.path().join("file").exists());
}

#[test]
fn torn_writes_show_up_as_a_mix_of_old_and_new_sectors() {
    let Some(volume) = volume() else { return };
    let path = volume.path().join("file");
    let mut mixed = 0;
    for seed in 0..20 {
        fs::write(&path, [1; 8192]).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        sync_directory(volume.path());
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[2; 8192], 0).unwrap();

        volume.power_cut(Loss::Torn { seed, sector: Sector::Bytes512 });
        volume.restore();

        let bytes = fs::read(&path).unwrap();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        mixed += u32::from(bytes.contains(&1) && bytes.contains(&2));
    }
    assert!(mixed > 0);
}

#[test]
fn an_armed_cut_comes_after_exactly_that_many_operations() {
    let Some(volume) = volume() else { return };
    let mut file = File::create(volume.path().join("file")).unwrap();
    sync_directory(volume.path());
    volume.cut_after(2, Loss::Everything);

    file.write_all(b"one").unwrap();
    file.sync_data().unwrap();
    let refused = file.write_all(b"three");

    assert!(refused.is_err());
    assert!(!volume.is_powered());
    volume.restore();
    assert_eq!(fs::read(volume.path().join("file")).unwrap(), b"one");
}

#[test]
fn a_failed_fsync_takes_its_changes_from_every_later_one() {
    let Some(volume) = volume() else { return };
    let path = volume.path().join("file");
    let mut file = File::create(&path).unwrap();
    sync_directory(volume.path());
    volume.set_faults(Faults { fsync_error: Some(FsyncError::Once), ..Faults::default() });
    file.write_all(b"gone").unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));

    file.sync_data().unwrap();
    volume.power_cut(Loss::Everything);
    volume.restore();

    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_full_volume_says_so_and_recovers_when_space_returns() {
    let Some(volume) =
        volume_with(VolumeOptions { capacity_bytes: 10_000, ..VolumeOptions::default() })
    else {
        return;
    };
    let mut file = File::create(volume.path().join("file")).unwrap();
    file.write_all(&[1; 10_000]).unwrap();

    let full = file.write_all(b"one more").unwrap_err();
    volume.set_capacity_bytes(20_000);

    assert_eq!(full.kind(), ErrorKind::StorageFull);
    file.write_all(b"one more").unwrap();
}

#[test]
fn a_stalled_fsync_holds_only_itself_and_ends_with_the_power() {
    let Some(volume) = volume() else { return };
    let path = volume.path().join("file");
    let file = File::create(&path).unwrap();
    volume.set_faults(Faults { fsync_stall: Some(Duration::from_secs(3600)), ..Faults::default() });
    let (done, synced) = mpsc::channel();
    let syncing = thread::spawn(move || done.send(file.sync_data()).unwrap());

    fs::write(volume.path().join("other"), b"not held up").unwrap();
    assert!(synced.recv_timeout(Duration::from_millis(50)).is_err());
    volume.power_cut(Loss::Everything);

    assert!(synced.recv_timeout(Duration::from_secs(10)).unwrap().is_err());
    syncing.join().unwrap();
}

#[test]
fn a_whole_tree_can_be_removed_and_renamed() {
    let Some(volume) = volume() else { return };
    let tree = volume.path().join("tree");
    fs::create_dir_all(tree.join("inner")).unwrap();
    for number in 0..300 {
        fs::write(tree.join(format!("inner/{number}")), [0; 10]).unwrap();
    }
    assert!(fs::rename(&tree, volume.path().join("moved")).is_ok());
    assert_eq!(fs::read_dir(volume.path().join("moved/inner")).unwrap().count(), 300);

    fs::remove_dir_all(volume.path().join("moved")).unwrap();

    assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 0);
}

#[test]
fn dropping_unmounts_even_with_open_files() {
    let Some(volume) = volume() else { return };
    let path = volume.path().to_owned();
    let mut file = File::create(path.join("file")).unwrap();

    drop(volume);

    assert!(!path.exists());
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(path.to_str().unwrap()));
    assert!(file.write_all(b"to nowhere").is_err());
}

#[test]
fn a_volume_whose_process_was_killed_is_unmounted_by_the_next_one() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mounted = || {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        points.map(PathBuf::from).find(|point| point.starts_with(directory.path()))
    };
    let mut killed = Command::new(env!("CARGO_BIN_EXE_apolo-chaos"))
        .args(["powerloss", "--subject", "sled", "--rounds", "1000000"])
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while mounted().is_none() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(mounted().is_some());
    killed.kill().unwrap();
    killed.wait().unwrap();

    let volume = Volume::mount(VolumeOptions::default()).unwrap();

    assert_eq!(mounted(), None);
    drop(volume);
}
