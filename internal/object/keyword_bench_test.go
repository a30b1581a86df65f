package object

import "testing"

func BenchmarkLookupKeyword(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LookupKeyword(KindCcfg, "token.max_age"); err != nil {
			b.Fatal(err)
		}
	}
}
