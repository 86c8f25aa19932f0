//! PyTorch files made by hand.

use std::io::{Cursor, Write};

use deeplpf_core::{DType, Model};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in entries {
        zip.start_file(format!("archive/{name}"), stored).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An archive whose pickle calls `posix.system(command)` when it is loaded.
pub fn that_runs(command: &str) -> Vec<u8> {
    let mut program = b"\x80\x02cposix\nsystem\n".to_vec();
    text(&mut program, command);
    program.extend(b"\x85R.");
    archive(&[("data.pkl".into(), program)])
}

/// What `torch.save(model.state_dict(), FILE)` would leave.
pub fn state_dict(model: &Model) -> Vec<u8> {
    let mut program = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    let mut entries = Vec::new();
    for (key, (name, variable)) in model.parameters().iter().enumerate() {
        let (key, count) = (key.to_string(), variable.elem_count());
        text(&mut program, name);
        program.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut program, "storage");
        program.extend(b"ctorch\nFloatStorage\n");
        text(&mut program, &key);
        text(&mut program, "cpu");
        integer(&mut program, count);
        program.extend(b"tQ");
        integer(&mut program, 0);
        let dims = variable.dims();
        let strides = (0..dims.len()).map(|axis| dims[axis + 1..].iter().product());
        for numbers in [dims.to_vec(), strides.collect()] {
            program.push(b'(');
            numbers.into_iter().for_each(|number| integer(&mut program, number));
            program.push(b't');
        }
        program.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        let values = variable.flatten_all().unwrap().to_dtype(DType::F32).unwrap();
        let values = values.to_vec1::<f32>().unwrap();
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        entries.push((format!("data/{key}"), bytes));
    }
    program.extend(b"u.");
    entries.insert(0, ("data.pkl".into(), program));
    archive(&entries)
}

fn text(program: &mut Vec<u8>, text: &str) {
    program.push(b'X');
    program.extend((text.len() as u32).to_le_bytes());
    program.extend(text.as_bytes());
}

fn integer(program: &mut Vec<u8>, value: usize) {
    program.push(b'J');
    program.extend((value as i32).to_le_bytes());
}
