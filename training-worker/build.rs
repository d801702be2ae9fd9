//! Names the code that fits: the SHA-256 of all that decides what comes out of a step beside its inputs.
//! A result that other code has computed is never taken for one of this code (src/steps.rs).

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};

/// What fits, what it fits, and which libraries help; from the folder of this crate.
const SOURCES: [&str; 3] = ["src", "../models/src", "../Cargo.lock"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut hash = Sha256::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        take(&mut hash, &here.join(source), Path::new(source))?;
    }
    let compiler = Command::new(env::var("RUSTC")?).arg("-vV").output()?;
    hash.update(&compiler.stdout);
    hash.update(env::var("TARGET")?);
    let code: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=SENSEMBLE_FITTING_CODE={code}");
    Ok(())
}

/// Takes in a file with its name, or all files of a folder in the order of their names.
fn take(hash: &mut Sha256, path: &Path, name: &Path) -> io::Result<()> {
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        return entries
            .iter()
            .try_for_each(|it| take(hash, &it.path(), &name.join(it.file_name())));
    }
    let bytes = fs::read(path)?;
    hash.update(format!("{} {}\n", name.display(), bytes.len()));
    hash.update(bytes);
    Ok(())
}
