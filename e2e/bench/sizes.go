package main

import "example.com/dragoman/pkg/sanity/figures"

const mb = 1e6

// sizeTargets are about memory, and about the image, which is measured here.
func sizeTargets(image int64) []target {
	return []target{
		{"RSS idle", "≤ 40 MB", 40 * mb, resident(idle())},
		{"RSS with 1,000 claims prepared", "≤ 45 MB", 45 * mb, resident(thousandHeld())},
		{"RSS with 10,000 devices published", "≤ 120 MB", 120 * mb, resident(manyPublished())},
		{"image with made-up devices, compressed", "≤ 25 MB", 25 * mb, func(view) (float64, string, error) {
			return float64(image), figures.Bytes(image), nil
		}},
	}
}

func idle() question { return question{workload: "footprint", at: withPrepared(0), has: hasProcess} }

func thousandHeld() question {
	return question{workload: "footprint", at: withPrepared(1000), has: hasProcess}
}

func manyPublished() question {
	return question{workload: "start", operation: "idle", at: withDevices(manyDevices), has: hasProcess}
}

func resident(q question) func(view) (float64, string, error) {
	return func(v view) (float64, string, error) {
		m, err := v.one(q)
		if err != nil {
			return 0, "", err
		}
		return float64(m.Process.RSS), figures.Bytes(m.Process.RSS), nil
	}
}
