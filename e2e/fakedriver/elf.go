package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// emptyLibrary returns a shared library that has a name and nothing else. ldconfig and dlopen take it; a text file
// would not do, since ldconfig makes links only for what has a name.
func emptyLibrary(name string) []byte {
	names := append([]byte{0}, append([]byte(name), 0)...)
	for len(names)%8 != 0 {
		names = append(names, 0)
	}
	const (
		headers = 64 + 2*56 // of the file and of two segments
		symbol  = 24        // the empty one that begins each table
		hash    = 5 * 4     // one bucket, one chain, and nothing in them
		padding = 4
	)
	symbols := uint64(headers + len(names))
	hashes := symbols + symbol
	dynamic := hashes + hash + padding
	tags := []elf.Dyn64{
		{Tag: int64(elf.DT_SONAME), Val: 1},
		{Tag: int64(elf.DT_STRTAB), Val: headers},
		{Tag: int64(elf.DT_STRSZ), Val: uint64(len(name)) + 2},
		{Tag: int64(elf.DT_SYMTAB), Val: symbols},
		{Tag: int64(elf.DT_SYMENT), Val: symbol},
		{Tag: int64(elf.DT_HASH), Val: hashes},
		{Tag: int64(elf.DT_NULL)},
	}
	end := dynamic + uint64(len(tags)*16)
	header := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	segments := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Filesz: end, Memsz: end, Align: 0x1000},
		{
			Type: uint32(elf.PT_DYNAMIC), Flags: uint32(elf.PF_R | elf.PF_W), Off: dynamic, Vaddr: dynamic, Paddr: dynamic,
			Filesz: end - dynamic, Memsz: end - dynamic, Align: 8,
		},
	}
	var file bytes.Buffer
	for _, part := range []any{
		header, segments, names, [symbol]byte{}, []uint32{1, 1, 0, 0, 0}, [padding]byte{}, tags,
	} {
		// Fixed-size values into memory: it cannot go wrong.
		_ = binary.Write(&file, binary.LittleEndian, part)
	}
	return file.Bytes()
}
