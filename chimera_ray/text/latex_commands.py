"""The names of LaTeX's commands, as far as mathematics written by models uses them."""

_GREEK = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu
xi omicron pi varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta
Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega digamma aleph beth gimel daleth hbar hslash ell wp
imath jmath eth complement partial Re Im
"""
_FUNCTIONS = """
arccos arccot arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lcm lg lim
liminf limsup ln log max min mod Pr sec sin sinh sup tan tanh rank tr Tr diag sgn sign span erf
ord Aut Hom End Gal Spec Res Ext Tor curl div grad supp vol char argmax argmin Var Cov
"""
_RELATIONS = """
approx approxeq asymp cong dashv doteq equiv ge geq geqq geqslant gg ggg gtrsim gtrless in isin le
leq leqq leqslant ll lll lesssim mid models ne neq ni not notin parallel perp prec preceq precsim
propto sim simeq smile frown sqsubset sqsubseteq sqsupset sqsupseteq subset subseteq subsetneq
supset supseteq supsetneq succ succeq succsim thickapprox thicksim triangleq trianglelefteq
trianglerighteq vdash vDash Vdash bowtie backsim backsimeq barwedge because between bumpeq
blacksquare ncong nexists ngeq ngeqq nleqq ngeqslant ngtr nleq nleqslant nless nmid nparallel
nprec npreceq nsim nsubseteq nsubset nsucc nsucceq nsupset nsupseteq ntriangleleft ntrianglelefteq
ntriangleright ntrianglerighteq nvdash nvDash nVdash lessgtr eqcirc fallingdotseq risingdotseq
nshortmid nshortparallel coloneqq eqqcolon
"""
_OPERATORS = """
amalg ast bigcap bigcirc bigcup bigodot bigoplus bigotimes bigsqcup bigstar bigtriangledown
bigtriangleup biguplus bigvee bigwedge bullet cap cdot circ coprod cup dagger ddagger diamond div
int iint iiint oint odot ominus oplus oslash otimes pm mp prod rtimes ltimes setminus
smallsetminus sqcap sqcup star sum times top bot triangle triangledown triangleleft triangleright
uplus vee wedge wr neg lnot land lor forall exists nabla emptyset varnothing infty angle
measuredangle sphericalangle prime backprime therefore natural flat sharp square Box Diamond surd
boxplus boxminus boxtimes blacktriangle bigl bigr bigm Bigl Bigr Bigm biggl biggr biggm Biggl
Biggr Biggm big Big bigg Bigg lozenge clubsuit diamondsuit heartsuit spadesuit checkmark degree
nolimits limits ldots cdots vdots ddots dots dotsb dotsc dotsm iff implies impliedby
"""
_ARROWS = """
to gets leftarrow rightarrow leftrightarrow Leftarrow Rightarrow Leftrightarrow longleftarrow
longrightarrow longleftrightarrow Longleftarrow Longrightarrow Longleftrightarrow mapsto
longmapsto hookleftarrow hookrightarrow uparrow downarrow updownarrow Uparrow Downarrow nearrow
searrow swarrow nwarrow nleftarrow nrightarrow nleftrightarrow nLeftarrow nRightarrow
nLeftrightarrow rightharpoonup rightharpoondown leftharpoonup leftharpoondown rightleftharpoons
leftrightharpoons rightleftarrows rightrightarrows rightsquigarrow twoheadrightarrow
twoheadleftarrow rightarrowtail leadsto xrightarrow xleftarrow upharpoonright restriction
circlearrowleft circlearrowright curvearrowright
"""
_FENCES = """
left right middle lbrace rbrace lbrack rbrack langle rangle lceil rceil lfloor rfloor lvert rvert
lVert rVert vert Vert lgroup rgroup backslash mvert
"""
_ACCENTS = """
acute bar breve check ddot dot grave hat mathring tilde vec widehat widetilde overline underline
overbrace underbrace overset underset stackrel overrightarrow overleftarrow substack cancel boxed
fbox framebox phantom hphantom vphantom mathstrut smash frac dfrac tfrac cfrac binom dbinom tbinom
sqrt root choose atop over pmod bmod pod tag notag nonumber label ref eqref cite pmatrix
"""
_FONTS = """
mathbb mathbf mathcal mathfrak mathit mathrm mathscr mathsf mathtt mathop mathbin mathrel mathord
mathopen mathclose boldsymbol bm bold bf rm it sf tt cal text textbf textit textmd textnormal
textrm textsc textsf textsl texttt textup textsuperscript textsubscript textasciitilde
textasciicircum textstyle textcolor emph operatorname operatorname* displaystyle scriptstyle
scriptscriptstyle color normalsize footnotesize small tiny large Large LARGE huge Huge scriptsize
normalfont bfseries itshape rmfamily ttfamily textdegree textmu texteuro textbackslash
"""
_LAYOUT = """
begin end item hline cline toprule midrule bottomrule newline newpage noindent nobreak nopagebreak
nocite nonfrenchspacing newcommand newenvironment newtheorem renewcommand quad qquad enspace
thinspace negthinspace negmedspace negthickspace medspace thickspace hspace vspace hfill vfill
hskip vskip kern smallskip medskip bigskip par paragraph section subsection chapter footnote
caption centering raggedright raisebox includegraphics usepackage documentclass def let ensuremath
mathchoice space linebreak pagebreak break allowbreak intertext shortintertext multicolumn
multirow rule rotatebox tabular fill textwidth tableofcontents thanks title today begingroup
bgroup endgroup egroup relax unit qty SI si num ang ce pu
"""
_MACROS = """
abs norm ket bra braket ketbra expval dd dv pdv N R Z Q C F E P Bbb
"""
_NO_TEXT = """
nabla natural nearrow nwarrow ngeq ngeqq ngeqslant nleq nleqq nleqslant nleftarrow nonumber
nolimits normalsize newline newcommand newenvironment newtheorem noindent notin nsubseteq
nsupseteq npreceq nsucceq ngtr nvdash nvDash nVdash ntriangleleft ntriangleright ntrianglelefteq
ntrianglerighteq nleftrightarrow nLeftarrow nRightarrow nLeftrightarrow negthinspace rho right
rightarrow rightharpoonup rightharpoondown rightleftharpoons rightleftarrows rightrightarrows
rightsquigarrow rightarrowtail restriction renewcommand raggedright theta times tilde tfrac tbinom
triangle triangleq triangledown triangleleft triangleright trianglelefteq trianglerighteq
therefore thickapprox thicksim tanh textbf textit textmd textnormal textrm textsc textsf textsl
texttt textup textstyle textcolor textdegree textsuperscript textsubscript textasciitilde
textasciicircum thinspace thickspace twoheadrightarrow twoheadleftarrow
"""
_ROWS = """
matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix cases rcases dcases array tabular
aligned align align* alignat alignat* gathered gather gather* split multline multline* eqnarray
eqnarray* substack
"""

COMMANDS = frozenset(
    "".join(
        (
            *(_GREEK, _FUNCTIONS, _RELATIONS, _OPERATORS, _ARROWS),
            *(_FENCES, _ACCENTS, _FONTS, _LAYOUT, _MACROS),
        )
    ).split()
)
"""names without their backslash, those of common macros of models among them"""

FUNCTIONS = frozenset(_FUNCTIONS.split())
"""names that formulas also use without a backslash, so that they are no prose"""

NO_TEXT = frozenset(_NO_TEXT.split())
r"""names that no text can mean: after `\t` or `\n`, "heta" or "abla" is no word and no variable"""

TEXT_ENDS = frozenset(("neq", "neg", "not", "tau"))
"""names whose ends, "eq" or "au", are no words; they may be abbreviations"""

ROWS = frozenset(_ROWS.split())
r"""environments whose rows end with `\\`"""
