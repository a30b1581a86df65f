package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
)

// Sizes of XAES-256-GCM, in bytes.
const (
	KeySize   = 32
	xaesNonce = 24
	xaesTag   = 16
)

// xaes is XAES-256-GCM (C2SP, XAES-256-GCM.md): AES-256-GCM under a key of its
// own for each 12 bytes of nonce, derived as NIST SP 800-108 has it. Random
// nonces of 24 bytes do not meet before 2^80 values, where those of plain GCM
// must stop at 2^32 (NIST SP 800-38D, section 8.3): nobody has to count.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte
}

func newXAES(key [KeySize]byte) (*xaes, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	// K1 is the subkey of CMAC: the encrypted zero block, doubled (NIST SP
	// 800-38B, section 6.1).
	block.Encrypt(x.k1[:], x.k1[:])
	var carry byte
	for i := len(x.k1) - 1; i >= 0; i-- {
		x.k1[i], carry = x.k1[i]<<1|carry, x.k1[i]>>7
	}
	x.k1[len(x.k1)-1] ^= byte(subtle.ConstantTimeSelect(int(carry), 0x87, 0))
	return x, nil
}

// aead derives the cipher for the first 12 bytes of a nonce.
func (x *xaes) aead(nonce []byte) (cipher.AEAD, error) {
	var key [KeySize]byte
	for i := range 2 {
		block := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		copy(block, []byte{0, byte(i + 1), 'X', 0})
		copy(block[4:], nonce[:12])
		subtle.XORBytes(block, block, x.k1[:])
		x.block.Encrypt(block, block)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal appends a random nonce and the sealed plaintext to dst.
func (x *xaes) seal(dst, plaintext, aad []byte) ([]byte, error) {
	nonce := make([]byte, xaesNonce)
	rand.Read(nonce) // never fails
	aead, err := x.aead(nonce)
	if err != nil {
		return nil, err
	}
	return aead.Seal(append(dst, nonce...), nonce[12:], plaintext, aad), nil
}

// open is the inverse of seal. It fails with errUnsealed whatever is wrong.
func (x *xaes) open(sealed, aad []byte) ([]byte, error) {
	if len(sealed) < xaesNonce+xaesTag {
		return nil, errUnsealed
	}
	aead, err := x.aead(sealed)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, sealed[12:xaesNonce], sealed[xaesNonce:], aad)
	if err != nil {
		return nil, errUnsealed
	}
	return plaintext, nil
}
