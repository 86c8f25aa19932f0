//! TIFF files: 16 bits a sample, uncompressed, EXIF in directories of its own.

use std::io::{Seek, Write};

use tiff::encoder::colortype::RGB16;
use tiff::encoder::{DirectoryEncoder, TiffEncoder, TiffKindStandard};
use tiff::tags::{Tag, Type};
use tiff::{Directory, TiffError, TiffResult};

use super::exif::{Field, Fields};
use super::rendering::{EncodeError, Metadata};

/// Pointers to the directories.
const EXIF: Tag = Tag::Unknown(0x8769);
const GPS: Tag = Tag::Unknown(0x8825);
const INTEROPERABILITY: Tag = Tag::Unknown(0xA005);

pub(super) fn write(
    writer: &mut (impl Write + Seek),
    levels: &[u16],
    size: (u32, u32),
    metadata: &Metadata,
) -> Result<(), EncodeError> {
    // `normalise` has read the block: it is not damaged. Without fields there is nothing to keep.
    let fields = metadata.exif.as_deref().and_then(|block| Fields::read(block).ok());
    write_file(writer, levels, size, &metadata.profile, fields.as_ref()).map_err(
        |error| match error {
            TiffError::IoError(error) => EncodeError::Io(error),
            other => EncodeError::Refused(other.to_string()),
        },
    )
}

fn write_file(
    writer: &mut (impl Write + Seek),
    levels: &[u16],
    (width, height): (u32, u32),
    profile: &[u8],
    fields: Option<&Fields>,
) -> TiffResult<()> {
    let mut file = TiffEncoder::new(writer)?;
    let mut pointers = Vec::new();
    if let Some(fields) = fields {
        let mut of_exif = Vec::new();
        if !fields.interoperability.is_empty() {
            let directory = file.extra_directory()?;
            let offset = write_directory(directory, fields, &fields.interoperability, &[])?;
            of_exif.push((INTEROPERABILITY, offset));
        }
        if !fields.exif.is_empty() || !of_exif.is_empty() {
            let directory = file.extra_directory()?;
            pointers.push((EXIF, write_directory(directory, fields, &fields.exif, &of_exif)?));
        }
        if !fields.gps.is_empty() {
            let directory = file.extra_directory()?;
            pointers.push((GPS, write_directory(directory, fields, &fields.gps, &[])?));
        }
    }
    let mut image = file.new_image::<RGB16>(width, height)?;
    let directory = image.encoder();
    if let Some(fields) = fields {
        write_fields(directory, fields, &fields.photograph)?;
    }
    for (tag, offset) in pointers {
        directory.write_tag(tag, offset)?;
    }
    let profile = directory.write_entry_bytes(Type::UNDEFINED, profile)?;
    directory.extend_from(&Directory::from_iter([(Tag::IccProfile, profile)]));
    image.write_data(levels)
}

/// Writes a directory of fields and pointers; returns where it begins.
fn write_directory<W: Write + Seek>(
    mut directory: DirectoryEncoder<'_, W, TiffKindStandard>,
    fields: &Fields,
    of_directory: &[Field],
    pointers: &[(Tag, u32)],
) -> TiffResult<u32> {
    write_fields(&mut directory, fields, of_directory)?;
    for &(tag, offset) in pointers {
        directory.write_tag(tag, offset)?;
    }
    let offset = directory.finish_with_offsets()?.pointer.0;
    Ok(u32::try_from(offset)?)
}

fn write_fields<W: Write + Seek>(
    directory: &mut DirectoryEncoder<'_, W, TiffKindStandard>,
    fields: &Fields,
    of_directory: &[Field],
) -> TiffResult<()> {
    for field in of_directory {
        // Fields are read with types 1 to 13 only, all of which the encoder knows.
        let Some(kind) = Type::from_u16(field.kind) else { continue };
        let entry = directory.write_entry_bytes(kind, &fields.native_value(field))?;
        directory
            .extend_from(&Directory::from_iter([(Tag::from_u16_exhaustive(field.tag), entry)]));
    }
    Ok(())
}
