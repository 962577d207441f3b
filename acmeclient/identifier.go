package acmeclient

// An Identifier is what a certificate is for. This package orders identifiers of type "dns" alone (RFC 8555 §9.7.7).
type Identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// A Status is the state of an ACME object (RFC 8555 §7.1.6).
type Status string

const (
	StatusPending     Status = "pending"
	StatusProcessing  Status = "processing"
	StatusReady       Status = "ready"
	StatusValid       Status = "valid"
	StatusInvalid     Status = "invalid"
	StatusDeactivated Status = "deactivated"
	StatusExpired     Status = "expired"
	StatusRevoked     Status = "revoked"
)
