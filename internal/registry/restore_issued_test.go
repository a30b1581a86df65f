package registry_test

import (
	"crypto/x509"
	"errors"
	"testing"

	"omca/ca"
	"omca/crl"
	"omca/internal/registry"
	"omca/internal/store/mem"
	"omca/pki"
)

// TestRestoreEndsWhatWasIssued: what was issued after the backup is not accepted any more. For a CA whose key was made here it is not on
// record, and that is enough. For any other it is on record as revoked: without a record it would be taken for one that was signed elsewhere.
func TestRestoreEndsWhatWasIssued(t *testing.T) {
	s, db := filled(t)
	ids := make(map[bool]pki.AuthorityID)
	for _, made := range []bool{true, false} {
		cert := userRecord(t, "calm-otter", "ca", "").Certificate // no CA, which nothing here asks
		ids[made] = pki.AuthorityOf(cert)
		a := ca.AuthorityRecord{ID: ids[made], Path: "system/sec/ca", Chain: []*x509.Certificate{cert}, KeyMade: made, Key: ca.KeyElsewhere}
		if err := s.RecordAuthority(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
	}
	old := backup(t, s)
	issued := make(map[bool]ca.Record)
	for _, made := range []bool{true, false} {
		r := userRecord(t, "calm-otter", "late", "system/usr/late")
		r.Authority = ids[made]
		record(t, s, r)
		issued[made] = r
	}
	unplaced := userRecord(t, "calm-otter", "late", "system/usr/late")
	unplaced.Signer = "010203" // as an older build kept it
	record(t, s, unplaced)
	into, master := mem.New(), fileMaster(t)
	done := restore(t, registry.RestoreConfig{Into: into, Master: master, Known: db}, old)
	if len(done.Issued) != 3 {
		t.Errorf("issued since: %+v", done.Issued)
	}
	after := newStore(t, into, master)
	if _, err := after.Record(t.Context(), issued[true].Serial()); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("of a CA made here: %v", err)
	}
	for what, r := range map[string]ca.Record{ids[false].String(): issued[false], ca.Unplaced("010203"): unplaced} {
		revocation, err := after.Revocation(t.Context(), what, r.Serial())
		if err != nil || revocation.Reason != crl.Superseded || !revocation.At.Equal(r.IssuedAt) {
			t.Errorf("%.10s: %+v, %v", what, revocation, err)
		}
		if kept, err := after.Record(t.Context(), r.Serial()); err != nil || kept.Owner != r.Owner {
			t.Errorf("%.10s: %+v, %v", what, kept, err)
		}
	}
}

// TestRestoreRecordsWhatWasRevoked: a certificate that was issued and revoked after the backup is on record, also of a CA whose key was
// made here. The list of a CA goes on as long as a certificate on record lives, and this one has to be on it.
func TestRestoreRecordsWhatWasRevoked(t *testing.T) {
	s, db := filled(t)
	cert := userRecord(t, "calm-otter", "ca", "").Certificate
	id := pki.AuthorityOf(cert)
	if err := s.RecordAuthority(t.Context(), ca.AuthorityRecord{ID: id, Path: "system/sec/ca", Chain: []*x509.Certificate{cert}, KeyMade: true}, nil); err != nil {
		t.Fatal(err)
	}
	old := backup(t, s)
	late := userRecord(t, "calm-otter", "late", "system/usr/late")
	late.Authority = id
	record(t, s, late)
	r := ca.Revocation{Authority: id.String(), By: "root"}
	r.Serial, r.At, r.Reason, r.NotAfter = late.Serial(), late.IssuedAt, crl.CessationOfOperation, late.Certificate.NotAfter
	if err := s.Revoke(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	into, master := mem.New(), fileMaster(t)
	done := restore(t, registry.RestoreConfig{Into: into, Master: master, Known: db}, old)
	if len(done.Issued) != 1 || len(done.Revoked) != 1 {
		t.Errorf("unknown to the backup: %+v", done)
	}
	after := newStore(t, into, master)
	kept, err := after.Record(t.Context(), late.Serial())
	if err != nil || kept.Authority != id || kept.Owner != late.Owner {
		t.Errorf("not on record: %+v, %v", kept, err)
	}
	if again, err := after.Revocation(t.Context(), id.String(), late.Serial()); err != nil || again.Reason != r.Reason {
		t.Errorf("%+v, %v", again, err)
	}
}
