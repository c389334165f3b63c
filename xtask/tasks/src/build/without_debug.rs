//! The eBPF object without its debugging information, three quarters of it: the kernel takes types from `.BTF`.

/// Of the header of an ELF file (`include/uapi/linux/elf.h`, `struct elf64_hdr`).
const HEADER: usize = 64;
const SECTIONS_AT: usize = 40;
const SECTION_COUNT: usize = 60;
const NAMES_INDEX: usize = 62;

/// Of the header of a section (`struct elf64_shdr`).
const SECTION: usize = 64;
const TYPE: usize = 4;
const OFFSET: usize = 24;
const SIZE: usize = 32;
const ALIGNMENT: usize = 48;

/// A section without bytes in the file.
const NOBITS: u64 = 8;

const DEBUG: [&[u8]; 2] = [b".debug_", b".rel.debug_"];

/// A copy of a relocatable, 64-bit, little-endian ELF file in which the sections of debugging information are empty. They keep
/// their numbers, which symbols refer to. `None` if that is no such file.
pub fn without_debug(elf: &[u8]) -> Option<Vec<u8>> {
    let at = usize::try_from(number(elf, SECTIONS_AT, 8)?).ok()?;
    let count = usize::try_from(number(elf, SECTION_COUNT, 2)?).ok()?;
    let headers = elf.get(at..at.checked_add(count.checked_mul(SECTION)?)?)?;
    let names = usize::try_from(number(elf, NAMES_INDEX, 2)?).ok()?;
    let names = content(elf, headers.chunks_exact(SECTION).nth(names)?)?;
    let mut copy = elf.get(..HEADER)?.to_vec();
    let mut copied_headers = Vec::new();
    for header in headers.chunks_exact(SECTION) {
        let mut header = header.to_vec();
        let name = names.get(usize::try_from(number(&header, 0, 4)?).ok()?..)?;
        if DEBUG.iter().any(|debug| name.starts_with(debug)) {
            header[TYPE..].fill(0);
        } else if number(&header, TYPE, 4)? != NOBITS {
            let content = content(elf, &header)?;
            pad(&mut copy, number(&header, ALIGNMENT, 8)?);
            header[OFFSET..OFFSET + 8].copy_from_slice(&(copy.len() as u64).to_le_bytes());
            copy.extend_from_slice(content);
        }
        copied_headers.extend(header);
    }
    pad(&mut copy, 8);
    let at = copy.len() as u64;
    copy[SECTIONS_AT..SECTIONS_AT + 8].copy_from_slice(&at.to_le_bytes());
    copy.extend(copied_headers);
    Some(copy)
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..len].copy_from_slice(bytes.get(at..at.checked_add(len)?)?);
    Some(u64::from_le_bytes(number))
}

fn content<'a>(elf: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    let start = usize::try_from(number(header, OFFSET, 8)?).ok()?;
    let size = usize::try_from(number(header, SIZE, 8)?).ok()?;
    elf.get(start..start.checked_add(size)?)
}

fn pad(copy: &mut Vec<u8>, alignment: u64) {
    let alignment = usize::try_from(alignment).unwrap_or(1).max(1);
    copy.resize(copy.len().next_multiple_of(alignment), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names, one section for each of these, and what they hold.
    fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut names = Vec::new();
        let mut file = vec![0; HEADER];
        let mut headers = Vec::new();
        let mut add = |name: usize, content: &[u8], file: &mut Vec<u8>| {
            let mut header = vec![0; SECTION];
            header[..4].copy_from_slice(&(name as u32).to_le_bytes());
            header[TYPE] = 1;
            header[OFFSET..OFFSET + 8].copy_from_slice(&(file.len() as u64).to_le_bytes());
            header[SIZE..SIZE + 8].copy_from_slice(&(content.len() as u64).to_le_bytes());
            header[ALIGNMENT] = 8;
            file.extend(content);
            headers.extend(header);
        };
        for (name, content) in sections {
            add(names.len(), content, &mut file);
            names.extend(name.as_bytes());
            names.push(0);
        }
        add(names.len() - 1, &names.clone(), &mut file);
        let at = file.len() as u64;
        file[SECTIONS_AT..SECTIONS_AT + 8].copy_from_slice(&at.to_le_bytes());
        file[SECTION_COUNT] = sections.len() as u8 + 1;
        file[NAMES_INDEX] = sections.len() as u8;
        file.extend(headers);
        file
    }

    fn contents(elf: &[u8]) -> Vec<Vec<u8>> {
        let at = number(elf, SECTIONS_AT, 8).unwrap() as usize;
        let headers = elf[at..].chunks_exact(SECTION);
        headers
            .map(|header| content(elf, header).unwrap().to_vec())
            .collect()
    }

    #[test]
    fn other_sections_keep_their_numbers_and_contents() {
        let full = elf(&[
            (".text", b"programs"),
            (".debug_info", &[7; 100]),
            (".rel.debug_info", &[8; 100]),
            (".BTF", b"types"),
        ]);
        let copy = without_debug(&full).unwrap();
        assert!(copy.len() + 150 < full.len());
        let sections = contents(&copy);
        assert_eq!(
            sections[..4],
            [b"programs".to_vec(), vec![], vec![], b"types".to_vec()]
        );
        assert!(without_debug(&full[..100]).is_none());
    }
}
