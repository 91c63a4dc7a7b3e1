"""The words in which servers refuse, by what they refuse; all in lower case.

Each group is what servers were seen to say, in OpenAI's codes and in their own sentences.
"""

import re


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


SPENT_CODES = _any_of(
    r"insufficient_(?:(?:user_)?quota|balance|funds|credits)",
    r"billing_(?:hard_limit_reached|not_active)",
    r"exceeded_current_quota_error",
    r"blocked_api_access",
    r"arrearage",
    r"billing_disabled",
    r"account_?overdue",
)
SPENT = _any_of(
    r"(?:insufficient|not enough) (?:account )?(?:balance|credit|fund)",
    r"balance is (?:too low|insufficient)",
    r"used all available credits",
    r"spend(?:ing)? limit",
    r"out of credits",
    r"(?:n't have any|no) credits? (?:yet|left|remain|available)",
    r"budget has been exceeded",
    r"exceeded (?:the |your |its )?budget",
    r"requires? more credits",
    r"payment method (?:is )?required",
    r"key limit exceeded",
    r"billing to be enabled",
    r"reached your (?:specified |monthly |workspace )?(?:api )?usage limit",
    r"models-per-day",
    r"exceeded (?:your |its )?monthly\b",
    r"monthly (?:\w+ ){0,2}(?:limit|quota) (?:\w+ )?(?:reached|exceeded)",
    r"billing limit",
    r"credits? (?:are |is |have been )?(?:depleted|exhausted|used up)",
    r"please recharge",
    r"insufficient quota|quota_not_enough",
    r"(?:free|trial|paid)\b.{0,40}\b(?:tier|trial|plan|quota|period)\b.{0,40}"
    r"\b(?:exhausted|ended|over|expired|used up)",
    r"(?:free )?trial (?:has |is )?(?:ended|over|expired)",
    r"(?:add|update|provide) (?:a |your )?(?:valid )?(?:payment|billing) method",
    r"(?:subscription|plan) (?:has |is )?(?:expired|ended|inactive|cancel)",
    r"余额不足",
    r"欠费",
    r"额度(?:已)?(?:用尽|不足)",
)
KEY = _any_of(
    r"(?:invalid|incorrect|expired|missing|wrong|malformed|unknown|revoked|no) (?:or \w+ )?"
    r"(?:api|access|auth\w*|bearer|x-api)[ _-]?(?:key|token|header)",
    r"(?:api|access|auth\w*|iam|bearer|security|session)[ _-]?(?:key|token) (?:is |has )?"
    r"(?:not (?:valid|found|provided|correct)|invalid|expired|missing|required|incorrect)",
    r"(?:invalid|expired|incorrect)_(?:api_)?key",
    r"api_key_(?:invalid|expired|missing)",
    r"invalid_(?:auth\w*|token)",
    r"authentication(?:_| )?(?:error|failed)",
    r"missing or invalid authorization",
    r"unauthenticated",
    r"expired token",
    r"(?:invalid|expired) credential",
    r"login fail",
    r"authorization (?:header|failed)",
    r"(?:api|access)[ _-]?key\b.{0,40}\b(?:invalid|leaked|compromised|expired|revoked)",
    r"unregistered callers",
    r"令牌(?:状态)?(?:不可用|无效|已?过期|已?禁用)",
    r"(?:request )?signature (?:we calculated|does not match|mismatch)",
    r"authfailure",
    r"invalid[ _]organi[sz]ation",
    r"security token\b.{0,40}(?:invalid|expired)",
)
_ENDED = r"(?:deactivat|disabl|suspend|terminat|banned|revoked|restricted|(?:not )?verified)"
BARRED = _any_of(
    r"\b(?:account|organi[sz]ation|key|access|project|team|user)\b.{0,60}"
    rf"\b(?:is|are|was|be|been) (?:\w+ ){{0,2}}{_ENDED}",
    rf"\b(?:account|organi[sz]ation|key) {_ENDED}",
    r"accessdenied",
    r"account (?:is |was |has been )?(?:frozen|blocked|locked|closed|inactive)",
    r"not (?:enabled|available|activated) (?:for|in|on) your "
    r"(?:account|organi[sz]ation|plan|project)",
    r"(?:n't|not|no) (?:have )?(?:access|sufficient permissions?) (?:to|for)\b",
    r"not authorized to (?:access|perform|invoke|use|call)",
    r"permission\b.{0,80}\bdenied on\b",
    r"access to the .{0,40}\b(?:endpoint|api|service|resource) is denied",
    r"requestdisallowedbypolicy",
    r"insufficient (?:permission|privilege|scope)",
    r"accept(?:ance of)? (?:the |its )?terms|terms acceptance",
    r"(?:n't|not) have access to (?:the |this )?model",
)
ELSEWHERE = _any_of(
    r"(?:location|country|region|territory)\b.{0,40}not (?:supported|available|allowed)",
    r"unsupported[ _](?:location|country|region|territory)",
    r"http request was sent to https",
    r"virtual network|network settings|firewall rules",
    r"(?:approved )?private (?:endpoint|network)",
    r"client[ _]ip|ip ?(?:address )?(?:is )?(?:denied|not (?:allowed|whitelisted))|ipdenied",
    r"rbac: access denied",
)
"""it does not answer this place, or this address, whatever is asked"""
MODEL = _any_of(
    r"model_not_(?:found|available)",
    r"invalid_model",
    r"(?:unknown|no such) model",
    r"model not (?:exist|found)",
    r"invalid model(?: name|:| id)",
    r"not a valid model",
    r"model identifier is invalid",
    r"no models? (?:is |are )?(?:currently )?loaded",
    r"\bmodel\b(?:(?!: ).){0,80} (?:deprecated|retired|shut down|no longer|not available)",
    r"\bmodel:? [`'\"]?[\w./:-]{1,80}[`'\"]? is not supported",
    r"(?:could not|cannot|can't) find model",
    r"unsupported model",
    r"model is required",
    r"model access denied",
    r"not activated the model",
    r"deployment\b.{0,60} not found",
    r"\bmodel\b(?:(?!: ).){0,80} (?:does not exist|not found|decommissioned)",
    r"模型不存在",
)
PROMPT_CODES = _any_of(
    r"content_?filter",
    r"content_(?:policy|moderation)",
    r"responsibleai",
    r"data_?inspection",
    r"moderation_blocked",
    r"invalid_prompt",
    r"prohibited_content",
    r"safety_check_type",
    r"sensitive_?content",
    r"new_sensitive",
    r"guardrail_intervened",
    r"input_flagged",
    r"cyber_policy",
    r"(?:prompt|jailbreak)[ _-]?(?:injection|attack)|jailbreak",
    r"contentillegal|riskdetection",
    r"censor",
    r"(?:guardrail|hooks)_(?:failed|triggered)",
)
_SAID = r"(?:input|prompt|content|request|response|output|message|text)s?\b"
PROMPT = _any_of(
    rf"{_SAID}.{{0,60}}\bflagged",
    rf"{_SAID}(?: (?:\w+ )?(?:is|was|were|been))? (?:blocked|filtered|censored|illegal|unlawful)\b",
    rf"{_SAID}.{{0,30}}\b(?:illegal|not allowed|audit fail|(?:contains?|potential|high) risk)",
    r"(?:prohibited|forbidden|banned|blocked|illegal) (?:words?|terms?|content|topics?)",
    r"may contain risk",
    r"\b(?:ethical|model armor)\b",
    r"content management policy",
    r"violat(?:e[sd]?|ing|ion of)\b.{0,40}(?:guideline|polic)",
    r"guardrail.{0,40}(?:fail|block|violat)",
    r"inappropriate content",
    r"content exists risk",
    r"considered high risk",
    r"sensitive (?:content|words?)",
    r"(?:blocked|filtered) by .{0,40}(?:filter|policy|safety|moderation|guard)",
    r"content filter",
    r"content policy",
    r"\bmoderat(?:ed|ion|or)(?![a-z])",
    r"\b(?:safety|harmful|toxic|unsafe|nsfw|guardrails?)(?![a-z])",
    r"disallowed content",
    r"\bpii\b",
    r"acceptable use",
    r"prompt (?:was |has been )?blocked",
    r"敏感|违规|违禁|审核不通过",
    r"不安全",
    r"内容安全",
    r"(?:content|prompt|input|message)\b.{0,40}\bnot safe",
)
THROTTLED = _any_of(
    r"throttl",
    r"rate[ _-]?limit",
    r"too many (?:\w+ )?requests",
    r"requests?[ _]limit(?:ed)? (?:reached|exceeded)|limit_requests",
    r"spike ?arrest",
    r"slow[ _]down",
    r"请求频率|过于频繁",
)
"""asked too often, whatever the status is"""
CONTEXT = _any_of(
    r"context_length",
    r"exceed_context_size",
    r"context.{0,20}(?:length|window|size)",
    r"exceed max_(?:seq|input|model)_len",
)
TOO_LONG = _any_of(
    r"string_above_max_length",
    r"maximum.{0,20}(?:context|length|number of tokens)",
    r"(?:prompt|input|sequence|token count).{0,60}exceeds?\b.{0,40}(?:limit|max|allowed|length)",
    r"must have less than \d+ tokens",
    r"tokens`? must be <",
    r"exceed(?:s|ed)? .{0,20}token limit",
    r"range of input length",
    r"cannot exceed \d+",
    r"超长|过长",
    r"tokens must be no more than",
    r"exceeds? (?:the )?max(?:imum)?(?: number of)? (?:allowed|tokens|input)",
    r"reduce (?:the length|your (?:message|prompt|input))",
    r"longer than the (?:model|maximum|limit)",
    r"too many (?:input )?tokens",
    r"too[ _](?:long|large|big)",
    r"length \d+ is (?:greater|longer|larger) than",
    r"(?:prompt|input) has \d+ tokens",
    r"total tokens .{0,40}exceed",
    r"supports? at most \d+ tokens",
    r"exceeds? (?:the )?context|context overflow",
    r"\bn_ctx\b|max_model_len|max_seq_len",
    r"max(?:imum)? allowed tokens",
    r"length \d+ > \d+",
)
FORMAT_REFUSED = _any_of(
    r"unsupported|not (?:be )?(?:supported|implemented|enabled|available)",
    r"(?:does not|doesn't|cannot|that) support",
    r"failed to (?:compile|parse|convert)",
    r"(?:unknown|invalid|unrecognized) (?:parameter|param|field|argument)",
)
"""so that it counts with a status that usually means something else"""
FORMAT = _any_of(
    r"response[ _]?format",
    r"json[ _]?(?:schema|object|mode|output)",
    r"structured[ _]?output",
    r"guided",
    r"grammar",
)
NEVER_FITS = _any_of(
    r"request too large",
    r"must be reduced",
    r"\blimit:? (\d[\d,]*)\b.{0,60}?\brequested:? (\d[\d,]*)",
)
"""a limit that waiting does not raise, in the words of one that passes"""
UNKNOWN_FIELD = _any_of(
    r"unsupported",
    r"unknown[ _]?(?:parameter|field|name|argument)",
    r"unrecognized",
    r"unexpected",
    r"extra (?:inputs|fields)",
    r"extraneous",
    r"additional propert",
    r"not (?:be )?(?:supported|permitted|allowed|recognized)",
    r"(?:does not|doesn't|cannot|not) (?:support|accept|take)",
    r"unavailable",
    r"deprecated",
    r"cannot both be",
    r"not (?:a )?valid (?:for|parameter|field|argument)",
    r"invalid (?:field|parameter|propert)",
    r"should not exist",
)
SURELY_UNKNOWN_FIELD = _any_of(
    r"(?:unsupported|unknown|unrecognized) (?:parameter|param|field|argument)",
    r"unexpected keyword",
    r"does not support param",
)
"""so that it counts with a status that usually passes"""
WRONG_VALUE = _any_of(
    r"must be (?:one of|at most|at least|between|in |less|greater|equal|<|>)",
    r"must be (?:non-?negative|positive)",
    r"is not (?:less|greater|one of)",
    r"invalid type",
    r"supported range",
    r"only .{1,20} (?:is|are) (?:allowed|supported)",
    r"invalid ['`\"]?(?:value|temperature|top_|min_|presence|reasoning)",
    r"\brange\b.{0,3}[\d\[(-]",
    r"out of range",
    r"valid range",
    r"should be",
)
