package mask

import (
	"regexp"
	"strings"
)

// What is a secret by its look. They are tried in this order.
var (
	bearer   = regexp.MustCompile(`(?i)\b(bearer\s+)[a-z0-9._~+/=-]{8,}`)
	userURL  = regexp.MustCompile(`(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"']+@`)
	database = regexp.MustCompile(`(\b[\w.-]+:)[^\s/"']+(@(?:tcp|unix)\()`)
	curlUser = regexp.MustCompile(`(\bcurl\b.*?\s(?:-u|--user)[ =]?\\*["']?[^\s:"']+:)[^\s"'\\]+`)
	element  = regexp.MustCompile(`(?i)(<[\w.:-]*(?:passw|secret|token|credential|api-?key)[\w.:-]*>)[^<]+</`)
	inQuotes = regexp.MustCompile(`(?i)\b((?:password|passwd|passphrase|passcode|api[- ]?key) )` +
		`(?:(\\")[^"\\]+|(")(?:[^"\\]|\\.)+|(')[^']+)`)
	jwt    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`)
	issued = regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|` +
		`\bglpat-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}|\bnvapi-[\w-]{20,}|\bhf_[A-Za-z0-9]{20,}|` +
		`\bsk-[A-Za-z0-9]{20,}|\bsk-(?:ant|or|proj|svcacct)-[\w-]{20,}|` +
		`\bhvs\.[\w-]{20,}|\bnpm_[A-Za-z0-9]{20,}|\bAIza[\w-]{30,}|\bdckr_pat_[\w-]{20,}`)
)

// maskLooks masks in a line what is a secret by its look. Few lines have what is looked for first, which is cheaper.
func maskLooks(line string) string {
	if hasAny(line, "earer", "EARER") {
		line = bearer.ReplaceAllString(line, "${1}"+Hidden)
	}
	if strings.Contains(line, "@") {
		line = userURL.ReplaceAllString(line, "${1}"+Hidden+"@")
		line = database.ReplaceAllString(line, "${1}"+Hidden+"${2}")
	}
	if strings.Contains(line, "curl") {
		line = curlUser.ReplaceAllString(line, "${1}"+Hidden)
	}
	if strings.Contains(line, "</") {
		line = element.ReplaceAllString(line, "${1}"+Hidden+"</")
	}
	if hasAny(line, "assw", "ASSW", "assp", "assc", "api", "API") {
		line = inQuotes.ReplaceAllString(line, "${1}${2}${3}${4}"+Hidden)
	}
	if strings.Contains(line, "eyJ") {
		line = jwt.ReplaceAllString(line, Hidden)
	}
	if hasAny(line, "AKIA", "ASIA", "gh", "glpat-", "xox", "nvapi-", "hf_", "sk-", "hvs.", "npm_", "AIza", "dckr_pat_") {
		line = issued.ReplaceAllString(line, Hidden)
	}
	return line
}

func hasAny(line string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}
