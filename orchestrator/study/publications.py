"""Publications of the methods that studies use, as BibTeX has them. A study cites those that it used."""

from __future__ import annotations

from orchestrator.study.methods import Publication


def _article(
    key: str, short: str, author: str, title: str, journal: str, year: str, **more: str
) -> Publication:
    fields = {"author": author, "title": title, "journal": journal, "year": year, **more}
    return Publication(key, "article", short, fields)


def _in(key: str, short: str, author: str, title: str, booktitle: str, year: str, **more: str) -> Publication:
    fields = {"author": author, "title": title, "booktitle": booktitle, "year": year, **more}
    return Publication(key, "inproceedings", short, fields)


RAY = _in(
    "moritz2018ray",
    "Moritz et al., 2018",
    "Moritz, Philipp and Nishihara, Robert and Wang, Stephanie and Tumanov, Alexey and Liaw, Richard and "
    "Liang, Eric and Elibol, Melih and Yang, Zongheng and Paul, William and Jordan, Michael I. and "
    "Stoica, Ion",
    "Ray: A Distributed Framework for Emerging AI Applications",
    "13th USENIX Symposium on Operating Systems Design and Implementation (OSDI 18)",
    "2018",
    pages="561--577",
)
TUNE = Publication(
    "liaw2018tune",
    "misc",
    "Liaw et al., 2018",
    {
        "author": "Liaw, Richard and Liang, Eric and Nishihara, Robert and Moritz, Philipp and "
        "Gonzalez, Joseph E. and Stoica, Ion",
        "title": "Tune: A Research Platform for Distributed Model Selection and Training",
        "year": "2018",
        "eprint": "1807.05118",
        "archiveprefix": "arXiv",
    },
)
PYTORCH = _in(
    "paszke2019pytorch",
    "Paszke et al., 2019",
    "Paszke, Adam and Gross, Sam and Massa, Francisco and Lerer, Adam and Bradbury, James and "
    "Chanan, Gregory and Killeen, Trevor and Lin, Zeming and Gimelshein, Natalia and Antiga, Luca and "
    "Desmaison, Alban and Köpf, Andreas and Yang, Edward and DeVito, Zachary and Raison, Martin and "
    "Tejani, Alykhan and Chilamkurthy, Sasank and Steiner, Benoit and Fang, Lu and Bai, Junjie and "
    "Chintala, Soumith",
    "PyTorch: An Imperative Style, High-Performance Deep Learning Library",
    "Advances in Neural Information Processing Systems",
    "2019",
    volume="32",
)
ASHA = _in(
    "li2020asha",
    "Li et al., 2020",
    "Li, Liam and Jamieson, Kevin and Rostamizadeh, Afshin and Gonina, Ekaterina and Ben-tzur, Jonathan and "
    "Hardt, Moritz and Recht, Benjamin and Talwalkar, Ameet",
    "A System for Massively Parallel Hyperparameter Tuning",
    "Proceedings of Machine Learning and Systems",
    "2020",
    volume="2",
    pages="230--246",
)
RANDOM_SEARCH = _article(
    "bergstra2012random",
    "Bergstra and Bengio, 2012",
    "Bergstra, James and Bengio, Yoshua",
    "Random Search for Hyper-Parameter Optimization",
    "Journal of Machine Learning Research",
    "2012",
    volume="13",
    pages="281--305",
)
TPE = _in(
    "bergstra2011algorithms",
    "Bergstra et al., 2011",
    "Bergstra, James and Bardenet, Rémi and Bengio, Yoshua and Kégl, Balázs",
    "Algorithms for Hyper-Parameter Optimization",
    "Advances in Neural Information Processing Systems",
    "2011",
    volume="24",
)
OPTUNA = _in(
    "akiba2019optuna",
    "Akiba et al., 2019",
    "Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and Koyama, Masanori",
    "Optuna: A Next-generation Hyperparameter Optimization Framework",
    "Proceedings of the 25th ACM SIGKDD International Conference on Knowledge Discovery & Data Mining",
    "2019",
    pages="2623--2631",
    doi="10.1145/3292500.3330701",
)
STUDENT = _article(
    "student1908probable",
    "Student, 1908",
    "Student",
    "The Probable Error of a Mean",
    "Biometrika",
    "1908",
    volume="6",
    number="1",
    pages="1--25",
    doi="10.1093/biomet/6.1.1",
)
SMYTH = _article(
    "smyth2004linear",
    "Smyth, 2004",
    "Smyth, Gordon K.",
    "Linear Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray "
    "Experiments",
    "Statistical Applications in Genetics and Molecular Biology",
    "2004",
    volume="3",
    number="1",
    doi="10.2202/1544-6115.1027",
)
HOLM = _article(
    "holm1979simple",
    "Holm, 1979",
    "Holm, Sture",
    "A Simple Sequentially Rejective Multiple Test Procedure",
    "Scandinavian Journal of Statistics",
    "1979",
    volume="6",
    number="2",
    pages="65--70",
)
FALSE_DISCOVERY = _article(
    "benjamini1995controlling",
    "Benjamini and Hochberg, 1995",
    "Benjamini, Yoav and Hochberg, Yosef",
    "Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing",
    "Journal of the Royal Statistical Society: Series B (Methodological)",
    "1995",
    volume="57",
    number="1",
    pages="289--300",
    doi="10.1111/j.2517-6161.1995.tb02031.x",
)
ARMITAGE = _article(
    "armitage1969repeated",
    "Armitage et al., 1969",
    "Armitage, P. and McPherson, C. K. and Rowe, B. C.",
    "Repeated Significance Tests on Accumulating Data",
    "Journal of the Royal Statistical Society: Series A (General)",
    "1969",
    volume="132",
    number="2",
    pages="235--244",
    doi="10.2307/2343787",
)
KIM_DEMETS = _article(
    "kim1987design",
    "Kim and DeMets, 1987",
    "Kim, Kyungmann and DeMets, David L.",
    "Design and Analysis of Group Sequential Tests Based on the Type I Error Spending Rate Function",
    "Biometrika",
    "1987",
    volume="74",
    number="1",
    pages="149--154",
)
MAURER_BRETZ = _article(
    "maurer2013multiple",
    "Maurer and Bretz, 2013",
    "Maurer, Willi and Bretz, Frank",
    "Multiple Testing in Group Sequential Trials Using Graphical Approaches",
    "Statistics in Biopharmaceutical Research",
    "2013",
    volume="5",
    number="4",
    pages="311--320",
    doi="10.1080/19466315.2013.807748",
)
SCHUIRMANN = _article(
    "schuirmann1987comparison",
    "Schuirmann, 1987",
    "Schuirmann, Donald J.",
    "A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing the Equivalence "
    "of Average Bioavailability",
    "Journal of Pharmacokinetics and Biopharmaceutics",
    "1987",
    volume="15",
    number="6",
    pages="657--680",
    doi="10.1007/BF01068419",
)
BOX_HUNTER = _article(
    "box1961fractional",
    "Box and Hunter, 1961",
    "Box, G. E. P. and Hunter, J. S.",
    "The 2^(k−p) Fractional Factorial Designs: Part I",
    "Technometrics",
    "1961",
    volume="3",
    number="3",
    pages="311--351",
)
SEARLE = Publication(
    "searle1992variance",
    "book",
    "Searle et al., 1992",
    {
        "author": "Searle, Shayle R. and Casella, George and McCulloch, Charles E.",
        "title": "Variance Components",
        "publisher": "Wiley",
        "year": "1992",
        "doi": "10.1002/9780470316856",
    },
)
SATTERTHWAITE = _article(
    "satterthwaite1946approximate",
    "Satterthwaite, 1946",
    "Satterthwaite, F. E.",
    "An Approximate Distribution of Estimates of Variance Components",
    "Biometrics Bulletin",
    "1946",
    volume="2",
    number="6",
    pages="110--114",
    doi="10.2307/3002019",
)
