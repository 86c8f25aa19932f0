//! Checkpoints are untrusted: whatever the bytes, reading them ends in a model or in a sentence.

use std::{
    io::{Cursor, Write},
    path::Path,
};

use deeplpf_core::{
    Checkpoint, CoreError, DType, Device, Initialisation, Model, ModelConfig,
    checkpoint::write_safetensors,
    random::{Generator, Purpose},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in entries {
        zip.start_file(format!("archive/{name}"), stored).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// `{"w": tensor of shape (2, 3)}` whose storage holds 0, 1, ... as f32, with these strides.
fn state_dict(offset: u8, strides: (u8, u8)) -> Vec<u8> {
    let mut program = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    program.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x08tQ");
    program.extend([b'K', offset, b'K', 2, b'K', 3, 0x86, b'K', strides.0, b'K', strides.1, 0x86]);
    program.extend(b"\x89ccollections\nOrderedDict\n)RtRs.");
    let numbers: Vec<u8> = (0..8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    archive(&[("data.pkl", &program), ("data/0", &numbers)])
}

fn read(bytes: &[u8]) -> Result<Checkpoint, CoreError> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("weights.pt");
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::read(&path)
}

fn refused(bytes: &[u8], part: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.contains("weights.pt") && error.contains(part), "{error}");
}

fn program(program: &[u8]) -> Vec<u8> {
    archive(&[("data.pkl", program)])
}

#[test]
fn tensors_are_read_by_offset_and_strides() {
    let values = |bytes: &[u8]| read(bytes).unwrap().tensors["w"].to_vec2::<f32>().unwrap();
    assert_eq!(values(&state_dict(0, (3, 1))), [[0., 1., 2.], [3., 4., 5.]]);
    assert_eq!(values(&state_dict(2, (3, 1))), [[2., 3., 4.], [5., 6., 7.]]);
    assert_eq!(values(&state_dict(0, (1, 2))), [[0., 2., 4.], [1., 3., 5.]], "transposed");
    refused(&state_dict(3, (3, 1)), "past its storage");
}

#[test]
fn callables_are_refused_by_name() {
    for name in ["posix\nsystem", "builtins\neval", "torch\nload", "os\nremove"] {
        let mut bytes = b"\x80\x02c".to_vec();
        bytes.extend(name.bytes());
        bytes.extend(b"\n)R.");
        let error = read(&program(&bytes)).unwrap_err();
        assert!(
            matches!(&error, CoreError::UnsafePickle { callable, .. }
            if *callable == name.replace('\n', ".")),
            "{error}"
        );
    }
}

/// Deep or cyclic structures would overflow the stack of whoever walks or frees them.
#[test]
fn structures_are_shallow() {
    let nested_tuples = [b"\x80\x02)".to_vec(), vec![0x85; 100_000], b".".to_vec()].concat();
    refused(&program(&nested_tuples), "nested too deeply");
    // A dict inside itself, by way of the memo.
    refused(&program(b"\x80\x02}q\0X\x01\0\0\0ah\0s."), "changes after");
    // Each turn wraps the last dict in a new one and forgets the list it stood on.
    let turn = b"}X\x01\0\0\0ah\0sq\0a".to_vec();
    let nested_dicts = [b"\x80\x02]}q\0a".to_vec(), turn.repeat(50_000), b".".to_vec()].concat();
    refused(&program(&nested_dicts), "nested too deeply");
    refused(&program(&[b"\x80\x02".to_vec(), vec![b'('; 100_000]].concat()), "without bound");
}

/// A thousand names for one storage, and a configuration of a billion weights.
#[test]
fn small_files_do_not_unfold() {
    let mut names = b"\x80\x02}(".to_vec();
    for name in 0..1000u32 {
        names.extend(b"X\x04\0\0\0");
        names.extend(format!("{name:04}").bytes());
        names.extend(
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n",
        );
        names.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuM\x00\x40tQK\0M\x00\x40\x85K\x01\x85");
        names.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    names.extend(b"u.");
    let numbers = vec![0u8; 4 * 0x4000];
    refused(&archive(&[("data.pkl", &names), ("data/0", &numbers)]), "larger than the file");

    let config = ModelConfig { widths: [2048; 5], features: 2048, ..ModelConfig::small() };
    let json = serde_json::to_string(&serde_json::to_string(&config).unwrap()).unwrap();
    let header = format!("{{\"__metadata__\":{{\"config\":{json}}}}}");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    let checkpoint = read(&bytes).unwrap();
    let error = checkpoint.model(None, DType::F32, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("it holds 0"), "{error}");
}

#[test]
fn what_is_not_a_state_dict_says_so() {
    refused(b"", "empty");
    refused(b"hello", "neither safetensors nor a PyTorch archive");
    refused(b"\x80\x02}q\0.", "not one of torch.save");
    refused(&program(b"\x80\x02}."), "no state dict");
    refused(&archive(&[("other", b"")]), "no data.pkl");
    let whole = state_dict(0, (3, 1));
    refused(&whole[..whole.len() / 2], "cut short");
    assert!(matches!(
        Checkpoint::read(Path::new("/nowhere/weights.pt")),
        Err(CoreError::Io { .. })
    ));
}

#[test]
fn damaged_bytes_never_panic() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("model.safetensors");
    let config = ModelConfig { widths: [1; 5], features: 4, head_width: 1, ..ModelConfig::small() };
    let model = Model::new(&config, Initialisation::Release, 1, DType::F32, &Device::Cpu).unwrap();
    write_safetensors(&model, &path).unwrap();
    let mut generator = Generator::new(29, Purpose::Synthesis, 0);
    for whole in [std::fs::read(&path).unwrap(), state_dict(0, (3, 1))] {
        for _ in 0..1000 {
            let mut bytes = whole.clone();
            for _ in 0..=generator.below(4) {
                // Most of a checkpoint is numbers; its structure is at both ends.
                let near = generator.below(bytes.len().min(600) as u32) as usize;
                let index = if generator.bernoulli(0.5) { near } else { bytes.len() - 1 - near };
                bytes[index] = generator.below(256) as u8;
            }
            if generator.bernoulli(0.2) {
                bytes.truncate(generator.below(bytes.len() as u32) as usize);
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(checkpoint) = Checkpoint::read(&path) {
                let _ = checkpoint.model(None, DType::F32, &Device::Cpu);
            }
        }
    }
}
