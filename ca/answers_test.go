package ca

import (
	"strconv"
	"testing"
	"time"

	"omca/crl"
	"omca/pki"
)

func keptFor(serial pki.Serial) kept {
	now := time.Unix(1_800_000_000, 0)
	return kept{serial, []byte(serial), crl.Window{Produced: now, This: now, Next: now.Add(time.Hour)}, crl.Good}
}

func TestAnswersAreBounded(t *testing.T) {
	c := newAnswers()
	for i := range mostAnswers + 100 {
		serial := pki.Serial(strconv.FormatInt(int64(i/2), 16)) // two hashes a certificate
		c.keep(strconv.Itoa(i), keptFor(serial), c.count())
	}
	keys := 0
	for _, of := range c.serial {
		keys += len(of)
	}
	if len(c.byKey) != mostAnswers || keys != mostAnswers {
		t.Errorf("%d answers are kept, %d in the index, want %d", len(c.byKey), keys, mostAnswers)
	}
}

func TestOnlyRespondersHaveTheProfile(t *testing.T) {
	for path, want := range map[string]bool{PathOCSP: true, PathOCSP + "-ca-x": true, PathListener: false, "ns1/sec/ocsp": false} {
		if id, err := holderIdentity("testers", Holder{Path: path, Profile: ProfileOCSP}); (err == nil) != want || id != nil {
			t.Errorf("%s: %v, %v", path, id, err)
		}
	}
}

func TestAnswersFromBeforeARevocation(t *testing.T) {
	c, k := newAnswers(), keptFor("5")
	seen := c.count()
	c.drop("5") // between what was read and what is kept
	c.keep("sha1", k, seen)
	if _, ok := c.find("sha1", k.window.This); ok {
		t.Error("an answer from before a revocation is kept after it")
	}
	c.keep("sha1", k, c.count())
	c.keep("sha256", k, c.count())
	c.keep("other", keptFor("6"), c.count())
	c.drop("5")
	for key, want := range map[string]bool{"sha1": false, "sha256": false, "other": true} {
		if _, ok := c.find(key, k.window.This); ok != want {
			t.Errorf("after the revocation of 5 the answer %q is there: %t", key, ok)
		}
	}
}
