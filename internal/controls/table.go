package main

// control is one check, and the test that must fail when it is taken out.
type control struct {
	name string
	room string // the directory of the test
	test string // as go prints it
	says string // what the test says then, among other things
	what string // is taken out, in words
	cuts []cut
}

// cut is a text that a file has once, and what stands in its place.
type cut struct{ file, old, stands string }

// impatience has tests in vain wait for a shorter time.
func impatience() cut {
	return cut{"internal/interop/lab/binary.go", "const Patience = 90 * time.Second", "const Patience = 15 * time.Second"}
}

const (
	interop = "internal/interop"
	opened  = "TestRevokeOpenConnections/"
	cells   = "TestRevocationTable/"
)

// table is all controls, those of one change of the sources together: go builds it once.
func table() []control {
	var (
		closing  = cut{"revoked.go", "return l.CloseCertificate(r.Serial.Int(), func(p listener.Peer) bool { return s.check(p.Chains) != nil })", "return 0"}
		resuming = cut{"listener/generation.go", "VerifyConnection: l.verifyConnection,",
			"VerifyConnection: func(state tls.ConnectionState) error {\nif state.DidResume {\nreturn nil\n}\nreturn l.verifyConnection(state)\n},"}
		dormant = cut{"ca/authorities.go", "\t\t\t\tdormant = append(dormant, is)\n", ""}
		ledger  = cut{"revoked.go", "return fmt.Errorf(\"%w: %s was taken back here (%s)\", errRevoked, e.Serial, e.Reason)", "_ = e"}
		revoked = cut{"usr/token/service.go", "case s.Store.Revoked(c.ID):", "case false:"}
	)
	const resumed = "the check of resumed handshakes"
	return []control{
		// Revocation, in handshakes and of what is open.
		{"open-own", interop, opened + "our_own_CA/open_connections", "of the revoked user is open", "the closing of connections by a revocation of ours", []cut{closing}},
		{"open-list", interop, opened + "the_list_of_another/open_connections", "of the revoked user is open", "the closing of connections by a list that came",
			[]cut{{"feeds.go", "\ts.closeRevoked(ctx)\n", ""}}},
		{"open-all", interop, opened + "our_own_CA/open_connections", "of another user was closed", "the choice of whose connections a revocation of ours closes",
			[]cut{{"listener/index.go", "return x.bySerial[k] }", "return x.open }"}}},
		{"open-all-list", interop, opened + "the_list_of_another/open_connections", "of another user was closed", "the choice of whose connections a list closes",
			[]cut{{"revoked.go", "l.CloseConnections(func(p listener.Peer) bool { return s.check(p.Chains) != nil })", "l.CloseConnections(func(listener.Peer) bool { return true })"}}},
		{"resumed-13", interop, opened + "our_own_CA/resumed,_TLS_1.3", "a ticket of a revoked certificate was taken", resumed, []cut{resuming}},
		{"resumed-12", interop, opened + "our_own_CA/resumed,_TLS_1.2", "a ticket of a revoked certificate was taken", resumed, []cut{resuming}},
		{"resumed-list-13", interop, opened + "the_list_of_another/resumed,_TLS_1.3", "a ticket of a revoked certificate was taken", resumed, []cut{resuming}},
		{"resumed-list-12", interop, opened + "the_list_of_another/resumed,_TLS_1.2", "a ticket of a revoked certificate was taken", resumed, []cut{resuming}},
		{"handshake", interop, "TestRefusedCertificates/a_deleted_user_over_HTTP/2.0", "expected that the server refuses the handshake", "the check of handshakes",
			[]cut{{"identify.go", "error { return s.check(state.VerifiedChains) }", "error { return nil }"}}},
		{"request", ".", "TestRevokedOnAnOpenConnection", "status 200, want 401", "the check of each request on a connection",
			[]cut{{"identify.go", "if err := s.check(r.TLS.VerifiedChains); err != nil {", "if err := error(nil); err != nil {"}}},
		{"revoked", ".", "TestRevokedAtOnce", "a revoked certificate got in", "the refusal of the revoked, in handshakes and routes",
			[]cut{ledger}},
		{"restart", ".", "TestRevokedAfterARestart", "before the restart got in", "the reading of revocations at the start",
			[]cut{{"omca.go", "if err := s.bootstrap(ctx); err != nil {\n\t\treturn err\n\t}\n\tif err := errors.Join(s.loadRevocations(ctx), s.readPolicy(ctx)); err != nil {",
				"if err := s.bootstrap(ctx); err != nil {\n\t\treturn err\n\t}\n\tif err := s.readPolicy(ctx); err != nil {"}}},
		{"two-lists", ".", "TestTwoListsOfOneCA", "who is revoked, is let in", "the look at the lists of others beside our own",
			[]cut{{"revoked.go", "foreign.Check(cert, chain[i+1], now), chain[i+1]); err != nil {", "foreign.Check(cert, chain[i+1], now), chain[i+1]); err != nil && false {"}}},
		{"hard", ".", "TestExternalList", "and the policy hard, got in", "the refusal of what is not settled",
			[]cut{{"revoked.go", "\tif !soft {\n", "\tif !soft && false {\n"}}},
		// The table of revocation.
		{"table-ledger", ".", cells + "subordinate/object_deleted/revoked_after/new_handshake", "which is revoked, is accepted in TLS 1.3", "the look at what was revoked here",
			[]cut{ledger}},
		{"table-objects", ".", cells + "subordinate/object_deleted/revoked_after", "which is revoked, is accepted in TLS 1.3", "the enforcement for CAs that no object holds",
			[]cut{{"revoked.go", "if e, revoked := own.Check(cert, chain[i+1]); revoked {",
				"held := func(l ca.PublishedList) bool { return l.Former == 0 && l.Signer.Equal(chain[i+1]) }\nif e, revoked := own.Check(cert, chain[i+1]); revoked && slices.ContainsFunc(s.publisher.All(), held) {"}}},
		{"table-list", ".", cells + "former_CA/object_there/revoked_before/CRL", "not within a minute", "the lists of CAs that no object holds", []cut{dormant}},
		{"table-ocsp", ".", cells + "subordinate/forced_anew/revoked_after/OCSP", "unauthorized", "the OCSP answers for CAs that no object holds", []cut{dormant}},
		{"table-key", ".", cells + "two_imported_CAs_with_one_name/object_there/revoked_after", "double", "the key in the identity of a CA",
			[]cut{{"pki/authority.go", "\th.Write(cert.RawSubjectPublicKeyInfo)\n", ""}}},
		{"table-ski", ".", cells + "two_imported_CAs_with_one_SKI/object_there/revoked_after", "double", "name and key in the identity of a CA, in favour of its subjectKeyIdentifier",
			[]cut{{"pki/authority.go", "\th.Write(name)\n\th.Write(cert.RawSubjectPublicKeyInfo)\n", "\th.Write(cert.SubjectKeyId)\n"}, {"pki/authority.go", "binary.BigEndian.AppendUint32(nil, uint32(len(name)))", "[]byte{byte(len(name)) & 0}"}}},
		{"table-told", "ca", "TestRecordedBeforeTold", "expected 2 each time", "the look into the store while a CA is put on record",
			[]cut{{"ca/authorities.go", "if known != nil && !recording {", "if known != nil && (!recording || true) {"}}},
		{"imported-mark", "ca", "TestIdentifyBelowAnImportedCA", "marked elsewhere with the key of an imported CA", "the refusal of marks by holders of an imported key",
			[]cut{{"ca/identify.go", "\tcase !own:\n", "\tcase false:\n"}}},
		{"earlier", ".", "TestCertificateOfAnEarlierUser", "status 200, want 401", "the difference between a user and an earlier one of the name",
			[]cut{{"identify.go", "if !id.BelongsTo(u.Created) {", "if false {"}}},
		{"ca-removed", ".", "TestExternalList", "the end of a connection whose CA was taken out", "the closing of connections whose CA leaves cluster.ca",
			[]cut{{"listener/listener.go", "if !g.ClientCAs.Equal(previous.ClientCAs) {", "if false {"}}},
		{"disabled", interop, "TestOpenConnections/disabled", "the connection is not closed", "the closing of connections of the disabled",
			[]cut{{"omca.go", "if u, err := s.objects.User(ctx, p.Name); err != nil || u.Disabled {", "if _, err := s.objects.User(ctx, p.Name); err != nil {"}}},
		// Deleting a user also takes its certificates back.
		{"deleted", interop, "TestOpenConnections/deleted", "the connection is not closed", "the closing of connections of the deleted, and of the revoked",
			[]cut{closing, {"omca.go", "if u, err := s.objects.User(ctx, p.Name); err != nil || u.Disabled {", "if u, err := s.objects.User(ctx, p.Name); err == nil && u.Disabled {"}}},
		{"allowed-ips", ".", "TestTokenEnds/from_where_she_may_not_call", "want 401", "the question where a user may call from",
			[]cut{{"identify.go", "if !within(u.AllowedIPs, from) {", "if false {"}}},
		{"handshake-under-way", "listener", "TestCloseDuringTheHandshake/by_certificate", "refused is true", "the closing of handshakes under way",
			[]cut{{"listener/index.go", "if p.Certificate != nil && slices.ContainsFunc(orders", "if false && slices.ContainsFunc(orders"}}},
		{"request-in-a-buffer", "listener", "TestNoRequestBeginsOnAClosedConnection/closed", "a request got through", "the refusal of requests on closed connections",
			[]cut{{"listener/port.go", "if !ok || c.closed.Load() {", "if !ok {"}}},
		{"expiry", "listener", "TestExpiry", "the end of the certificate", "the end of a connection with its certificate",
			[]cut{{"listener/index.go", "func() { _ = c.port.l.guard(taskConnection, c.Close) })", "func() {})"}}},
		{"tickets", "listener", "TestTicketsEnd/TLS_1.3_trust_changed", "resumed true", "the change of ticket keys with the trust",
			[]cut{{"listener/generation.go", "\t\tg.ClientCAs.Equal(other.ClientCAs) &&\n", ""}}},
		{"generation", "listener", "TestBrokenGenerationKeepsThePrevious/broken_chain", "want ErrGeneration", "the handshake of a generation with itself",
			[]cut{{"listener/generation.go", "if err := l.tryHandshakes(config); err != nil {", "if err := error(nil); err != nil {"}}},

		// Revocation lists.
		{"lists-restart", ".", "TestExternalListAfterARestart", "that was listed before the restart got in", "the reading of the lists of others at the start",
			[]cut{{"feeds.go", "if err := s.feeds.Load(ctx, sources); err != nil {", "if err := s.feeds.Load(ctx, sources[:0]); err != nil {"}}},
		{"lists-rollback", "internal/feed", "TestLastGoodCopy", "error <nil>", "the refusal of lists that go back",
			[]cut{{"internal/feed/believe.go", "\tcase older != nil:\n", "\tcase older != nil && false:\n"}, {"internal/feed/believe.go", "\tcase lapsed(h, now):\n", "\tcase older != nil || lapsed(h, now):\n"}}},
		{"crl-first", "crl", "TestNewestList", "released by the newer: revoked", "every list but the first",
			[]cut{{"crl/set.go", "for _, v := range from.Lists {", "for _, v := range from.Lists[:min(1, len(from.Lists))] {"}}},
		{"crl-first-scope", "crl", "TestPKITS/4.14_second_list", "want revoked", "every scope of lists but the first",
			[]cut{{"crl/check.go", "for _, one := range all {", "for _, one := range all[:1] {"}}},
		{"crl-first-point", "crl", "TestPKITS/4.14_second_distribution_point", "want revoked", "every distribution point but the first",
			[]cut{{"crl/scope.go", "for _, p := range distributionPoints(cert) {", "for i, p := range distributionPoints(cert) {\nif i > 0 {\nbreak\n}"}}},
		{"crl-serial", "crl", "TestNotCovered", "same serial of another issuer: revoked", "the issuer, which makes a serial number mean something",
			[]cut{{"crl/check.go", "all := s.series[ca.id]", "var all []*series\nfor _, some := range s.series {\nall = append(all, some...)\n}"}}},
		{"crl-serial-entry", "crl", "TestPKITS/4.14_certificateIssuer_in_a_list_that_is_not_indirect", "want undetermined", "the look at whose certificate an entry means",
			[]cut{{"crl/check.go", "if l.foreign {", "if false {"}}},
		{"ledger-recent", "crl", "TestLedgerCompacted", "want 400 and 100", "the keeping of what was revoked while the ledger was compacted",
			[]cut{{"crl/ledger.go", "next.recent, _ = next.recent.with(one.revocation, one.Entry)", ""}}},
		{"crl-expired", "crl", "TestNewestList", "the newest is old: good", "the end of a list's time",
			[]cut{{"crl/list.go", "case at.After(h.NextUpdate):", "case false:"}}},
		{"crl-signature", "crl", "TestPKITS/4.4.4_bad_CRL_signature", "want undetermined", "the signature on a list",
			[]cut{{"crl/verify.go", "if err := issuer.CheckSignature(algorithm, l.tbs, l.signature); err != nil {", "if err := error(nil); algorithm < 0 {"}}},
		{"crl-critical", "crl", "TestPKITS/4.4.10_unknown_CRL_extension", "want undetermined", "the look at unknown critical extensions",
			[]cut{{"crl/list.go", "case h.UnknownCritical != \"\":", "case false:"}}},

		{"crl-names-list", "crl", "TestSpelledNames", "is of \"CN=corp  ca\", not of \"CN=Corp CA\"", "the comparison of a list's issuer by RFC 5280, 7.1",
			[]cut{{"crl/verify.go", "if !pki.EqualNames(l.RawIssuer, issuer.RawSubject) {", "if !bytes.Equal(l.RawIssuer, issuer.RawSubject) {"}}},
		{"crl-names-issuer", "crl", "TestSpelledIssuer", "undetermined (the certificate is of issuer", "the comparison of a certificate's issuer by RFC 5280, 7.1",
			[]cut{{"crl/check.go", "if !pki.EqualNames(cert.RawIssuer, issuer.RawSubject) {", "if len(pki.CanonicalName(nil)) > 0 && string(cert.RawIssuer) != string(issuer.RawSubject) {"}}},
		{"crl-names-covered", "crl", "TestSpelledCovered", "want undetermined", "the one name of a CA in all its spellings",
			[]cut{{"crl/known.go", "return identity{pki.AuthorityOf(cert), string(pki.CanonicalName(cert.RawSubject))}", "return identity{pki.AuthorityOf(cert), string(cert.RawSubject)}"}}},
		{"crl-names-points", "crl", "TestSpelledPoints", "another string type: undetermined", "the comparison of directory names by RFC 5280, 7.1",
			[]cut{{"crl/scope.go", "in.ReadASN1(&directory, tag4|constructed) {", "in.ReadASN1(&directory, tag4|constructed) && false {"}}},
		{"crl-names-ocsp", "crl", "TestRespondSpelled", "want an answer true", "the spellings of an issuer's name in OCSP requests",
			[]cut{{"crl/ocsp_response.go", "range spellings(issuer.RawSubject) {", "range spellings(issuer.RawSubject)[:1] {"}}},
		{"lists-partial", ".", "TestListThatCannotBeUsed", "with the policy hard: carol gets 200", "the wait for the list of a CA of which one cannot be used",
			[]cut{{"feeds.go", "e.covered = trusted, awaited", "e.covered = trusted, awaited[:0]"}}},
		{"lists-refused", ".", "TestListRefused", "the end of the connection that nothing settles any more", "the note of which lists were refused",
			[]cut{{"internal/feed/accept.go", "f.leaveOut(ctx, s, p, s.aside, s.lost(ders, unread, err))", "f.leaveOut(ctx, s, p, s.aside, s.lost(ders, unread, err)[:0])"}}},
		{"lists-refused-restart", "internal/feed", "TestPartialRefused/badly_signed", "undetermined are []", "the memory of which lists were refused",
			[]cut{{"internal/feed/accept.go", "append(left, asideOf(kept.Unused)...), refusedOf(kept.Unused)", "append(left, asideOf(kept.Unused)...), nil"}}},
		{"lists-aside-restart", ".", "TestListThatCannotBeUsed", "after a restart without the source", "the memory of which lists were set aside",
			[]cut{{"feeds.go", "keptList{k.ETag, k.LastModified, k.FetchedAt, k.DER, unused}", "keptList{k.ETag, k.LastModified, k.FetchedAt, k.DER, unused[:0]}"}}},
		{"lists-missing-spelled", "internal/feed", "TestSpelledFollows", "want one with \"rollback\"", "the look for the next list of a CA in all its spellings",
			[]cut{{"internal/feed/believe.go", "return pki.EqualNames(a.RawIssuer, b.RawIssuer) && a.Scope.Equal(&b.Scope)", "return bytes.Equal(a.RawIssuer, b.RawIssuer) && a.Scope.Equal(&b.Scope)"}}},
		// Panics beside the requests, and clocks of nodes.
		{"panic", ".", "TestStaplerPanics", "nil pointer dereference", "the guard around what runs beside the requests",
			[]cut{{"internal/background/background.go", "if value := recover(); value != nil {", "if value := any(nil); value != nil {"}}},
		{"panic-again", ".", "TestStaplerPanics", "panics are left", "the second try after a panic",
			[]cut{{"internal/background/background.go", "if ctx.Err() != nil || !Panicked(err) {", "if ctx.Err() != nil || true {"}}},
		{"panic-doctor", "internal/api", "TestDoctor", "panic: want", "the finding about panics",
			[]cut{{"internal/api/doctor.go", "\tall = append(all, panicTroubles(status.Panics)...)\n", ""}}},
		{"panic-watch", "internal/object", "TestWatchGoesOn", "revoking 01", "the wait of commits for a watch that begins again",
			[]cut{{"internal/object/store.go", "\tif background.Panicked(err) {\n\t\treturn err\n", "\tif false {\n\t\treturn err\n"}}},
		{"panic-watch-once", "internal/object", "TestWatchGoesOn", "told of", "the second look at a change that panicked",
			[]cut{{"internal/object/follow.go", "\t\tif err := f.apply(change); err != nil {\n", "\t\tf.advance(change.Rev)\n\t\tif err := f.apply(change); err != nil {\n"}}},
		{"panic-watch-ends", ".", "TestWatchPanics", "follows nothing", "the end of a daemon that follows its store no more",
			[]cut{{"background.go", "if !down(err) {", "if false {"}}},
		{"panic-commit", "internal/store/bolt", "TestPanicBreaks/in_the_journal", "a disk nobody thought of", "the guard around a commit",
			[]cut{{"internal/store/bolt/commit.go", "err := s.whole(func() (err error) {", "err := func(f func() error) error { return f() }(func() (err error) {"}}},
		{"panic-list", "internal/feed", "TestPanics", "want the list that came first", "the doubt about a list that was read and not handed on",
			[]cut{{"internal/feed/run.go", "\t\t\tf.doubt(s)\n", ""}}},
		{"clock-chosen", ".", "TestClockOff", "ahead", "the look at the clock before what one does for all",
			[]cut{{"nodes.go", "s.isChosen.Load() && !s.clocks.isWrong()", "s.isChosen.Load()"}}},
		{"clock-resign", ".", "TestClockOff", "another node chosen: not within", "the giving up of what a node with a wrong clock was chosen for",
			[]cut{{"clocks.go", "case wrong && a.isChosen.Load():", "case false:"}}},
		{"clock-tie", ".", "TestWhoseClockIsOff", "want \"b\"", "the choice between two halves",
			[]cut{{"clocks.go", "all[(len(all)-1)/2]", "all[len(all)/2]"}}},
		{"clock-late", ".", "TestLateClock", "old: off is true", "the age of what shows a clock",
			[]cut{{"clocks.go", " || age > clockFresh {", " {"}}},
		{"clock-set", ".", "TestClockIsSet", "off are \"\"", "the comparison of clocks",
			[]cut{{"clocks.go", "by := min(max(shown.goneOn(at).Sub(wall)", "by := min(max(shown.shows.Sub(shown.shows)"}}},
		{"clock-backup", "internal/object", "TestFollowNodes", "is in a backup", "the leaving out of clocks from backups",
			[]cut{{"internal/object/nodes.go", "return announces(key) || strings.HasPrefix(key, prefixClock)", "return announces(key)"}}},
		{"clock-doctor", "internal/api", "TestDoctor", "clock: want", "the finding about clocks",
			[]cut{{"internal/api/doctor.go", "\tall = append(all, clockTroubles(status)...)\n", ""}}},

		// What a certificate set is, and who signs what.
		{"import-key", "ca", "TestImportInAnyOrder", "the live key is not that of the live certificate", "the comparison of an imported key with the certificate",
			[]cut{{"ca/import.go", "if !pki.SameKey(chain[0].PublicKey, key.Public()) {", "if false {"}}},
		{"import-chain", "ca", "TestImportBroken/a_chain_of_another_PKI", "expected refused", "the refusal of what is not in the chain",
			[]cut{{"pki/chain.go", "if next < 0 {", "if next < 0 {\nreturn chain, nil\n}\nif next < 0 {"}}},
		// A chain is looked at as a part and as a whole.
		{"import-expired", "ca", "TestImportBroken/expired", "expected refused", "the validity of an imported chain",
			[]cut{
				{"ca/import.go", "\tif err := pki.VerifyChain(chain, a.now()); err != nil {\n\t\treturn err\n\t}\n\tif part", "\tif part"},
				{"ca/import.go", "\tif err := pki.VerifyChain(chain, a.now()); err != nil {\n\t\treturn err\n\t}\n\treturn suits", "\treturn suits"},
			}},
		{"import-switch", interop, "TestImportUnderLoad/certificate,_private_key,_certificate_chain", "the CA changed 2 times", "the wait of a certificate for its chain",
			[]cut{{"ca/import.go", "live set.\n\treturn nil, \"certificate_chain is missing\"", "live set.\n\treturn chain, \"\""}}},
		{"inventory", "ca", "TestIdentifyWantsTheInventory", "a certificate outside the inventory is", "the look into the inventory",
			[]cut{{"ca/identify.go", "\tcase made:\n", "\tcase false:\n"}}},
		{"revoked-ca", "ca", "TestRevokedCASignsNoMore", "of a revoked CA", "the refusal of revoked CAs to sign",
			[]cut{{"ca/issue.go", "\t\tif revoked {\n", "\t\tif revoked && false {\n"}}},
		{"policy", "ca", "TestPolicyOfTheCA", "want a denial", "the policy of a CA about names",
			[]cut{{"ca/issue.go", "if err := o.issuer.policy.Check(subject, names); err != nil {", "if err := error(nil); err != nil {"}}},
		{"names", "ca", "TestSignGrants/a_name_that_is_not", "want a denial", "the look at the names that a user may ask for",
			[]cut{{"ca/issue.go", "return checkAsked(o, subject, names)", "return nil"}}},
		{"constraints", "pki", "TestNameConstraintsHold", "a.example.org under", "the look at the name constraints above a draft",
			[]cut{{"pki/issuer.go", "if err := i.checkConstraints(d.linted); err != nil {", "if err := error(nil); err != nil {"}}},
		{"lints", "pki", "TestDraftRefuses", "the issuer's own name: got <nil>", "the lint of a draft", []cut{{"pki/issuer.go", "if err := refusal(findings); err != nil {", "if err := error(nil); err != nil {"}}},
		{"signed-once", "pki", "TestSignedBytesAreTheDrafts", "signed twice", "the memory of a draft that it was signed",
			[]cut{{"pki/issuer.go", "if d.signed.Swap(true) {", "if false {"}}},

		// Who calls, and what they may.
		{"guesses-user", "usr", "TestGuessesOfUser", "attempts were let through at once", "the limit of guesses at a user's password",
			[]cut{{"usr/guess.go", "if wait := u.wait(limit); wait > 0 {", "if wait := u.wait(limit); wait > 0 && false {"}}},
		{"guesses-address", "usr", "TestGuessesFromAddress", "want 1s", "the limit of guesses from an address",
			[]cut{{"usr/guess.go", "if wait := address.wait(limit); wait > 0 {", "if wait := address.wait(limit); wait > 0 && false {"}}},
		{"guesses", ".", "TestLoginIsLimited", "five guesses: [401 401 401 401 401]", "the question whether a password may be tried",
			[]cut{{"identify_basic.go", "attempt, err := s.guesses.Take(guard.Guesses, known, address)\n\tif err != nil {", "attempt, err := s.guesses.Take(guard.Guesses, known, address)\n\tif false {"}}},
		{"grants", "usr", "TestCanGrant", "gives", "the rule that nobody gives more than they hold",
			[]cut{{"usr/grants.go", "\t\tif !g.holds(want) {\n\t\t\treturn fmt.Errorf(\"%w: grant %q is not held\"", "\t\tif false {\n\t\t\treturn fmt.Errorf(\"%w: grant %q is not held\""}}},
		{"token-revoked", "usr/token", "TestVerify", "revoked: <nil>", "the look whether a token was revoked", []cut{revoked}},
		{"token-remembered", ".", "TestTokenEnds/revoked", "want 401", "the look whether a token was revoked, also of one seen before", []cut{revoked}},
		// The tokens of a user who is disabled are taken back too, and stay so.
		{"token-disabled", ".", "TestTokenEnds/the_user_disabled", "want 401", "the refusal of disabled users and of revoked tokens",
			[]cut{revoked, {"identify.go", "\tif u.Disabled {\n", "\tif false {\n"}}},
		{"token-back", ".", "TestTokenEnds/the_user_disabled", "alive again", "the look whether a token was revoked, once its user is enabled again", []cut{revoked}},
		{"token-late", "internal/object", "TestNoTokenOfTheDisabled", "by basic: <nil>", "the refusal of tokens to those who were disabled meanwhile",
			[]cut{{"internal/object/tokens.go", "case err == nil && u.Disabled && (", "case false && ("}}},
		{"session-password", ".", "TestSessionEnds/password_changed", "after it", "the end of sessions with the password",
			[]cut{{"identify_session.go", "case !l.PasswordChanged.Equal(u.PasswordChanged):", "case false:"}}},
		{"join-once", "internal/object", "TestJoinTokens", "spent again", "the single use of a token to join",
			[]cut{{"internal/object/join.go", "store.Tx{Expect: []store.Expect{{Key: key, Rev: rev}}, Deletes", "store.Tx{Deletes"}}},
		{"member-stopped", "internal/member", "TestReadsWhileStopping", "a stopped member is read", "the end of calls before etcd closes its files",
			[]cut{{"internal/member/client.go", "c.KV = clientv3.NewKVFromKVClient(", "_ = clientv3.NewKVFromKVClient("}}},
		{"member-removed", "internal/member", "TestMembersComeAndGo", "may still connect", "the second try to close the door behind a leader that was removed",
			[]cut{{"internal/member/members.go", "err := m.whenWell(ctx, func(ctx context.Context) error { // without", "err := func(f func(context.Context) error) error { return f(ctx) }(func(ctx context.Context) error { // without"}}},
		{"member-unknown", "internal/member", "TestUnknownIsNotRemoved", "expected 404", "the answer to a member that is not known yet, which must not stop it",
			[]cut{{"internal/member/peers.go", "\"no such member\", http.StatusNotFound", "\"no such member\", http.StatusForbidden"}}},
		{"seal", "internal/object", "TestOpenMoved", "opens at", "the place that a sealed value is bound to",
			[]cut{{"internal/object/seal.go", "header, []byte(key)}, nil)", "header}, nil)"}}},
		{"restore", "internal/object", "TestRestoreKnowsWhatWasRevoked", "came back to life", "the keeping of what the home that a backup replaces had revoked",
			[]cut{{"internal/object/restore.go", "store.Tx{Puts: []store.Put{{Key: e.Key, Value: e.Value}}})\n\t\t\treturn err", "store.Tx{})\n\t\t\treturn err"}}},
		{"cross-site", "internal/api", "TestCrossSite", "403", "the refusal of requests for pages of another origin",
			[]cut{{"internal/api/route.go", "if err := sameOrigin(c.request); err != nil {", "if err := error(nil); err != nil {"}}},
		{"cross-site-get", "internal/api", "TestCrossSiteMakesNoKey", "403", "the same of a GET that makes a key",
			[]cut{{"internal/api/keys.go", "if err := changing(c.request); err != nil {", "if err := error(nil); err != nil {"}}},
	}
}
