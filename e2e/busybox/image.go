package main

import "example.com/dragoman/e2e/imagefile"

const passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"

// image returns an archive with an image of the program, a link to it for every applet, and the few directories and
// files that programs expect.
func image(program []byte, applets []string, tag string) ([]byte, error) {
	entries := []imagefile.Entry{
		{Name: "bin/", Mode: 0o755},
		{Name: "bin/busybox", Mode: 0o755, Content: program},
		{Name: "etc/", Mode: 0o755},
		{Name: "etc/group", Mode: 0o644, Content: []byte("root:x:0:\nnogroup:x:65534:\n")},
		{Name: "etc/passwd", Mode: 0o644, Content: []byte(passwd)},
		{Name: "root/", Mode: 0o700},
		{Name: "tmp/", Mode: 0o1777},
	}
	for _, applet := range applets {
		entries = append(entries, imagefile.Entry{Name: "bin/" + applet, Mode: 0o777, Link: "busybox"})
	}
	return imagefile.Archive(tag, entries, map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}})
}
